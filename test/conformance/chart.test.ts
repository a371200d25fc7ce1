import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { VERSION } from '../../src/version.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { requireTool } from '../tools/require-tool.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const CHART = join(DEPLOY, 'chart');

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  metadata: { readonly name: string; readonly namespace?: string; annotations?: Record<string, string> };
  spec?: {
    readonly template?: {
      readonly metadata: { annotations?: Record<string, string> };
      readonly spec: {
        readonly containers: readonly { readonly image: string; readonly args: readonly string[] }[];
      };
    };
  };
  data?: Record<string, unknown>;
  readonly provisioner?: string;
}

function parseManifests(text: string): Map<string, Manifest> {
  const objects = [...parseAllDocuments(text)]
    .map((document) => document.toJS() as Manifest | null)
    .filter((object) => object !== null);
  return new Map(
    objects.map((object) => [
      `${object.kind}/${object.metadata.namespace ?? ''}/${object.metadata.name}`,
      object,
    ]),
  );
}

/**
 * What only Helm needs: to keep the kinds when the chart goes, and to restart agents whose
 * configuration changed.
 */
const HELM_ALONE = ['helm.sh/resource-policy', 'keelson.dev/config-hash'];

/** Without what only Helm needs, and with configuration files as what they say. */
function comparable(object: Manifest): Manifest {
  const copy = structuredClone(object);
  for (const metadata of [copy.metadata, copy.spec?.template?.metadata]) {
    const annotations = Object.entries(metadata?.annotations ?? {}).filter(
      ([key]) => !HELM_ALONE.includes(key),
    );
    if (metadata === undefined) continue;
    if (annotations.length === 0) delete metadata.annotations;
    else metadata.annotations = Object.fromEntries(annotations);
  }
  if (copy.kind === 'ConfigMap') {
    copy.data = Object.fromEntries(
      Object.entries(copy.data ?? {}).map(([name, text]) => [name, parse(String(text)) as unknown]),
    );
  }
  return copy;
}

describe('the chart', () => {
  let helm: string;
  let kubectl: string;

  beforeEach(async (context) => {
    helm = await requireTool(context, 'helm');
    kubectl = await requireTool(context, 'kubectl');
  }, 900_000);

  const render = async (
    values: object = {},
    namespace = 'keelson-system',
  ): Promise<Map<string, Manifest>> => {
    const directory = await mkdtemp(join(tmpdir(), 'keelson-chart-'));
    try {
      const file = join(directory, 'values.yaml');
      await writeFile(file, stringify(values));
      // Helm knows of no cluster here, and would guess an old one.
      const version = ['--kube-version', '1.36.3'];
      const args = ['template', 'keelson', CHART, ...version, '--namespace', namespace, '--values', file];
      const { stdout } = await runCommand(helm, args, { env: { HOME: directory, PATH: '/usr/bin:/bin' } });
      return parseManifests(stdout);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  };
  const find = (objects: ReadonlyMap<string, Manifest>, name: string): Manifest => {
    const object = objects.get(name);
    if (object === undefined) throw new Error(`the chart renders no ${name}`);
    return object;
  };

  test('renders, with its defaults, the objects of kubectl apply -k but for the namespace', async () => {
    const { stdout } = await runCommand(kubectl, ['kustomize', DEPLOY]);
    const manifests = parseManifests(stdout);
    manifests.delete('Namespace//keelson-system');
    const rendered = await render();
    expect([...rendered.keys()].sort()).toEqual([...manifests.keys()].sort());
    for (const [name, object] of manifests) {
      expect(comparable(find(rendered, name)), name).toEqual(comparable(object));
    }
  });

  test('keeps the CRDs, and with them the volumes, when it is uninstalled', async () => {
    const kinds = [...(await render()).values()].filter(({ kind }) => kind === 'CustomResourceDefinition');
    expect(kinds.length).toBeGreaterThan(0);
    for (const { metadata } of kinds) {
      expect(metadata.annotations, metadata.name).toMatchObject({ 'helm.sh/resource-policy': 'keep' });
    }
  });

  test('has the version of this release', async () => {
    const { stdout } = await runCommand(helm, ['show', 'chart', CHART]);
    expect(parse(stdout)).toMatchObject({ version: VERSION, appVersion: VERSION });
    const { stdout: lint } = await runCommand(helm, ['lint', '--strict', CHART]);
    expect(lint).toContain('0 chart(s) failed');
  });

  test('applies the values of the user', async () => {
    const rendered = await render(
      {
        image: { repository: 'registry.example.com/keelson', tag: '9.9.9' },
        apiServer: { host: '10.0.0.1', port: 6443 },
        kubeletDir: '/data/kubelet',
        agent: { config: { network: { ranges: ['10.1.0.0/24'] }, metrics: { address: '127.0.0.1:9810' } } },
        controller: { replicas: 1, args: ['--qps=200'] },
        csiDriver: { seLinuxMount: true },
        storageClasses: [{ name: 'fast', default: true, parameters: { pool: 'nvme' } }],
      },
      'elsewhere',
    );
    const controller = find(rendered, 'Deployment/elsewhere/keelson-controller');
    expect(controller.spec).toMatchObject({ replicas: 1 });
    expect(controller.spec?.template?.spec.containers[0]).toMatchObject({
      image: 'registry.example.com/keelson:9.9.9',
      args: ['controller', '--metrics-address=0.0.0.0:9812', '--qps=200'],
    });
    expect(parse(String(find(rendered, 'ConfigMap/elsewhere/keelson-agent').data?.['agent.yaml']))).toEqual({
      kubeletDir: '/data/kubelet',
      kubernetes: {},
      metrics: { address: '127.0.0.1:9810' },
      network: { ranges: ['10.1.0.0/24'] },
    });
    expect(find(rendered, 'ConfigMap/elsewhere/keelson-api-server').data).toEqual({
      KUBERNETES_SERVICE_HOST: '10.0.0.1',
      KUBERNETES_SERVICE_PORT: '6443',
    });
    expect(find(rendered, 'CSIDriver//keelson.dev')).toMatchObject({
      spec: { seLinuxMount: true, attachRequired: false },
    });
    expect(find(rendered, 'StorageClass//fast')).toMatchObject({
      metadata: { annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
      parameters: { pool: 'nvme' },
    });
    const orphanRights = 'ClusterRoleBinding//keelson-orphan-collection';
    expect(rendered.has(orphanRights)).toBe(false);
    const collecting = await render(
      { agent: { config: { orphans: { graceSeconds: 604_800 } } } },
      'elsewhere',
    );
    expect(stringify(find(collecting, orphanRights))).toContain('namespace: elsewhere');
    const text = stringify([...rendered.values()]);
    expect(text).toContain('system:serviceaccount:elsewhere:keelson-agent');
    expect(text).not.toContain('keelson-system');
  });
});
