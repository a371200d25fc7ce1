import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { KubeObject, Resource } from '../../../src/kube/resource.ts';
import { retry } from '../../../src/runtime/retry.ts';

interface CustomResourceDefinition extends KubeObject {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
  };
}

const EXTENSIONS = { group: 'apiextensions.k8s.io', version: 'v1' } as const;
const ADMISSION = { group: 'admissionregistration.k8s.io', version: 'v1' } as const;

export const CRDS: Resource<CustomResourceDefinition> = {
  ...EXTENSIONS,
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};
const ADMISSION_PLURALS: Readonly<Record<string, string>> = {
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings',
};

/** Where an admission object of `deploy/` lives. */
export function resourceOfManifest({ kind = '' }: KubeObject): Resource<KubeObject> {
  const plural = ADMISSION_PLURALS[kind];
  if (plural === undefined) throw new Error(`no resource for ${kind}`);
  return { ...ADMISSION, plural, kind, namespaced: false };
}

const deploy = join(import.meta.dirname, '../../../deploy');

/** The objects in the YAML files of `deploy/<folder>`. */
export async function readManifests(folder: string): Promise<readonly KubeObject[]> {
  const files = (await readdir(join(deploy, folder))).filter((file) => file.endsWith('.yaml')).sort();
  return (await Promise.all(files.map((file) => readManifest(join(folder, file))))).flat();
}

/** The objects in `deploy/<file>`. */
export async function readManifest(file: string): Promise<readonly KubeObject[]> {
  const text = await readFile(join(deploy, file), 'utf8');
  return [...parseAllDocuments(text)].map((document) => document.toJS() as KubeObject);
}

/** As `kubectl apply --server-side -f deploy/crds`; resolves when each is served. */
export async function installCrds(client: KubeClient): Promise<readonly string[]> {
  const names: string[] = [];
  for (const object of await readManifests('crds')) {
    const name = object.metadata?.name ?? '';
    await client.patch(CRDS, { name }, { apply: object, fieldManager: 'test' });
    names.push(name);
  }
  for (const name of names) {
    await retry(
      async () => {
        const { status } = await client.get(CRDS, { name });
        const conditions = status?.conditions ?? [];
        const refused = conditions.find(({ type }) => type === 'NonStructuralSchema');
        if (refused !== undefined) throw new Error(`${name}: ${refused.message ?? ''}`);
        const established = conditions.some((c) => c.type === 'Established' && c.status === 'True');
        if (!established) throw new Error(`${name} is not established: ${JSON.stringify(conditions)}`);
      },
      { baseMs: 100, maxMs: 500, attempts: 60 },
    );
  }
  return names;
}
