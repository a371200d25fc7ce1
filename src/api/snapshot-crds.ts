import { stringify } from 'yaml';
import { GENERATED } from './crd-files.ts';
import { structural } from './crd.ts';
import { GROUP_SNAPSHOT_KINDS } from './group-snapshot-kinds.ts';
import { SNAPSHOT_KINDS, type SnapshotKindDefinition } from './snapshot-kinds.ts';

/** Returns the CustomResourceDefinition of a standard snapshot kind, as a plain object. */
export function snapshotDefinition(definition: SnapshotKindDefinition): object {
  const { group, kind, plural, singular, shortNames, namespaced, description, fields, required } = definition;
  const { earlierVersions = [] } = definition;
  const hasStatus = fields['status'] !== undefined;
  const version = (name: string, storage: boolean): object => ({
    name,
    served: true,
    storage,
    schema: {
      openAPIV3Schema: {
        type: 'object',
        description,
        required,
        properties: {
          apiVersion: { type: 'string' },
          kind: { type: 'string' },
          metadata: { type: 'object' },
          ...Object.fromEntries(Object.entries(fields).map(([field, type]) => [field, structural(type)])),
        },
        // Without spec and status, fields of later releases are at the top level.
        ...(hasStatus ? {} : { 'x-kubernetes-preserve-unknown-fields': true }),
      },
    },
    ...(hasStatus ? { subresources: { status: {} } } : {}),
    additionalPrinterColumns: definition.columns,
  });
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      annotations: { 'api-approved.kubernetes.io': definition.approval },
    },
    spec: {
      group,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        version('v1', true),
        // All versions have the same fields, so nothing is converted.
        ...earlierVersions.map((name) => version(name, false)),
      ],
    },
  };
}

/** Returns the files of `deploy/snapshot-crds`: text by name. */
export function snapshotCrdFiles(): Map<string, string> {
  return filesOf(SNAPSHOT_KINDS);
}

/** Returns the files of `deploy/group-snapshot-crds`, for clusters that have the others already. */
export function groupSnapshotCrdFiles(): Map<string, string> {
  return filesOf(GROUP_SNAPSHOT_KINDS);
}

function filesOf(kinds: readonly SnapshotKindDefinition[]): Map<string, string> {
  const names = kinds.map(({ group, plural }) => `${group}_${plural}.yaml`);
  const files = kinds.map((kind, index) => [names[index] ?? '', yaml(snapshotDefinition(kind))] as const);
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: names,
  };
  return new Map([...files, ['kustomization.yaml', yaml(kustomization)]]);
}

function yaml(object: object): string {
  return GENERATED + stringify(object, { lineWidth: 120, aliasDuplicateObjects: false });
}
