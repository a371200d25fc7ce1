import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { LOCAL_VOLUMES, type LocalVolume } from '../../../src/api/local-volume.ts';
import { NETWORK_POOLS } from '../../../src/api/network-pool.ts';
import { NODE_INVENTORIES } from '../../../src/api/node-inventory.ts';
import { NODE_LABEL_RULES } from '../../../src/api/node-label-rule.ts';
import { RUNTIME_POLICIES } from '../../../src/api/runtime-policy.ts';
import { STORAGE_POOLS } from '../../../src/api/storage-pool.ts';
import { Fault } from '../../../src/core/fault.ts';
import { type KubeClient, listAll } from '../../../src/kube/client.ts';
import type { KubeObject, Resource } from '../../../src/kube/resource.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { requireTool } from '../../tools/require-tool.ts';
import { type ApiServer, startApiServer } from './kube-api-server.ts';
import { CRDS, installCrds } from './kube-manifests.ts';
import { POLICY_SAMPLES } from './kube-policy-samples.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Sample {
  readonly name: string;
  readonly spec: object;
  readonly refused?: RegExp;
}

const DEVICES = { devices: ['/dev/disk/by-id/nvme-*'] };

const POOLS: readonly Sample[] = [
  { name: 'a mounted directory', spec: { source: { path: '/srv/pool' } } },
  { name: 'a sparse file', spec: { backend: 'image', source: { file: '/srv/pool.img', fileSize: '100Gi' } } },
  {
    name: 'devices of some nodes',
    spec: {
      source: DEVICES,
      reserve: '5%',
      overcommitPercent: 200,
      nodeSelector: { matchLabels: { 'keelson.dev/disk': 'nvme' } },
    },
  },
  { name: 'no source', spec: {}, refused: /spec.source: Required value/ },
  {
    name: 'an empty source',
    spec: { source: {} },
    refused: /exactly one of path, file or devices must be set/,
  },
  {
    name: 'two sources',
    spec: { source: { path: '/srv', ...DEVICES } },
    refused: /exactly one of path, file or devices must be set/,
  },
  {
    name: 'a file without size',
    spec: { source: { file: '/a' } },
    refused: /file and fileSize must be set together/,
  },
  {
    name: 'a size without file',
    spec: { source: { path: '/a', fileSize: '1Gi' } },
    refused: /file and fileSize must be set together/,
  },
  {
    name: 'a path that climbs',
    spec: { source: { path: '/srv/../etc' } },
    refused: /must not contain "\.\."/,
  },
  { name: 'a relative path', spec: { source: { path: 'srv' } }, refused: /spec.source.path/ },
  {
    name: 'a device elsewhere',
    spec: { source: { devices: ['/tmp/disk'] } },
    refused: /must be a path below \/dev/,
  },
  {
    name: 'an unknown backend',
    spec: { backend: 'zfs', source: DEVICES },
    refused: /Unsupported value: "zfs"/,
  },
  {
    name: 'half of a promise',
    spec: { source: DEVICES, overcommitPercent: 50 },
    refused: /overcommitPercent/,
  },
  { name: 'a reserve in words', spec: { source: DEVICES, reserve: 'some' }, refused: /spec.reserve/ },
];

const VOLUME = { nodeName: 'node-a', poolName: 'default', size: '1Gi' };

const VOLUMES: readonly Sample[] = [
  { name: 'the least', spec: VOLUME },
  {
    name: 'all of it',
    spec: {
      ...VOLUME,
      type: 'Volume',
      volumeMode: 'Filesystem',
      fsType: 'xfs',
      source: { snapshotName: 'snapshot-1' },
      claim: { namespace: 'team-a', name: 'data', uid: '0b0c' },
      parameters: { pool: 'default' },
      mutableParameters: { 'io.max': '100' },
    },
  },
  { name: 'a snapshot', spec: { ...VOLUME, type: 'Snapshot', source: { volumeName: 'pvc-1' } } },
  {
    name: 'a snapshot of nothing',
    spec: { ...VOLUME, type: 'Snapshot' },
    refused: /a Snapshot requires source.volumeName/,
  },
  {
    name: 'a file system on a block volume',
    spec: { ...VOLUME, volumeMode: 'Block', fsType: 'ext4' },
    refused: /fsType must not be set for a Block volume/,
  },
  {
    name: 'two origins',
    spec: { ...VOLUME, source: { volumeName: 'a', snapshotName: 'b' } },
    refused: /exactly one of volumeName or snapshotName/,
  },
  { name: 'no node', spec: { poolName: 'default', size: '1Gi' }, refused: /spec.nodeName: Required value/ },
  { name: 'a size in words', spec: { ...VOLUME, size: 'big' }, refused: /spec.size/ },
];

const RULES: readonly Sample[] = [
  { name: 'a label', spec: { labels: [{ key: 'keelson.dev/disk', value: 'nvme' }] } },
  {
    name: 'all of it',
    spec: {
      match: 'inventory.disks.exists(d, d.type == "nvme")',
      nodeSelector: { matchExpressions: [{ key: 'a', operator: 'Exists' }] },
      labels: [{ key: 'storage.keelson.dev/disks', expression: 'string(inventory.disks.size())' }],
      taints: [{ key: 'keelson.dev/slow', effect: 'PreferNoSchedule' }],
      extendedResources: [{ name: 'keelson.dev/gpu', expression: 'inventory.pciDevices.size()' }],
    },
  },
  {
    name: 'nothing to give',
    spec: { match: 'true' },
    refused: /at least one of labels, taints and extendedResources/,
  },
  {
    name: 'a prefix of the user, and a description of the node',
    spec: {
      priority: -5,
      labels: [
        { key: 'example.com/a', value: 'x' },
        { key: 'feature.node.kubernetes.io/a', value: 'x' },
      ],
    },
  },
  {
    name: "Kubernetes' label",
    spec: { labels: [{ key: 'kubernetes.io/role', value: 'x' }] },
    refused: /must not be under kubernetes.io or k8s.io/,
  },
  {
    name: "Kubernetes' taint",
    spec: { taints: [{ key: 'feature.node.kubernetes.io/a', effect: 'NoSchedule' }] },
    refused: /must not be under kubernetes.io or k8s.io/,
  },
  {
    name: 'a key without a prefix',
    spec: { labels: [{ key: 'role', value: 'x' }] },
    refused: /labels\[0\].key/,
  },
  {
    name: 'a key of ours',
    spec: { taints: [{ key: 'keelson.dev/agent-not-ready', effect: 'NoSchedule' }] },
    refused: /is written by Keelson/,
  },
  {
    name: 'evicting pods by accident',
    spec: { taints: [{ key: 'example.com/a', effect: 'NoExecute' }] },
    refused: /set evictPods to true/,
  },
  {
    name: 'evicting pods on purpose',
    spec: { evictPods: true, taints: [{ key: 'example.com/a', effect: 'NoExecute' }] },
  },
  {
    name: 'value and expression',
    spec: { labels: [{ key: 'keelson.dev/a', value: 'x', expression: '"y"' }] },
    refused: /exactly one of value or expression/,
  },
  {
    name: 'one key twice',
    spec: {
      labels: [
        { key: 'keelson.dev/a', value: 'x' },
        { key: 'keelson.dev/a', value: 'y' },
      ],
    },
    refused: /Duplicate value/,
  },
];

const NETWORKS: readonly Sample[] = [
  {
    name: 'all of it',
    spec: {
      nodeSelector: { matchLabels: { rack: '1' } },
      masqueradeExclusions: ['192.168.0.0/16', 'fd00:88::/48'],
    },
  },
  { name: 'nothing', spec: {}, refused: /spec.masqueradeExclusions/ },
  { name: 'no range', spec: { masqueradeExclusions: [] }, refused: /spec.masqueradeExclusions/ },
  {
    name: 'a range in words',
    spec: { masqueradeExclusions: ['all'] },
    refused: /must be an address range like/,
  },
  {
    name: 'an address instead of a range',
    spec: { masqueradeExclusions: ['10.88.0.7/16'] },
    refused: /has bits set beyond its prefix/,
  },
  {
    name: 'a range twice',
    spec: { masqueradeExclusions: ['10.88.0.0/16', '10.88.0.0/16'] },
    refused: /Duplicate value/,
  },
];

const TABLES: readonly (readonly [Resource<KubeObject>, readonly Sample[]])[] = [
  [STORAGE_POOLS, POOLS],
  [LOCAL_VOLUMES, VOLUMES],
  [NODE_LABEL_RULES, RULES],
  [NETWORK_POOLS, NETWORKS],
  [RUNTIME_POLICIES, POLICY_SAMPLES],
];

describe('the kinds of keelson.dev on a real kube-apiserver', () => {
  let server: ApiServer | undefined;
  let admin: KubeClient;
  let prepared: Promise<void> | undefined;

  const prepare = async (context: Pick<TestContext, 'skip'>): Promise<void> => {
    server = await startApiServer(context);
    admin = server.client('admin');
    await installCrds(admin);
  };
  beforeEach(async ({ skip }) => {
    await (prepared ??= prepare({ skip }));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  const refusal = async (writing: Promise<unknown>): Promise<string> => {
    const error = await writing.catch((caught: unknown) => Fault.from(caught));
    expect(error).toBeInstanceOf(Fault);
    expect(error).toMatchObject({ kind: 'invalid' });
    return (error as Fault).message;
  };
  const volume = (name: string, spec: object = {}): LocalVolume =>
    ({ metadata: { name }, spec: { ...VOLUME, ...spec } }) as LocalVolume;

  it('are served, each with a structural schema', async () => {
    const crds = (await listAll(admin, CRDS)).filter(({ metadata }) =>
      metadata?.name?.endsWith('.keelson.dev'),
    );
    expect(crds).toHaveLength(6);
    for (const { metadata, status } of crds) {
      const types = status?.conditions?.filter((c) => c.status === 'True').map((c) => c.type);
      expect([metadata?.name, types?.sort()]).toEqual([metadata?.name, ['Established', 'NamesAccepted']]);
    }
  });

  for (const [resource, samples] of TABLES) {
    for (const { name, spec, refused } of samples) {
      const verb = refused === undefined ? 'take' : 'refuse with a word';
      it(`${verb} a ${resource.kind}: ${name}`, async () => {
        const object = { metadata: { generateName: 'sample-' }, spec };
        const creating = admin.create(resource, object, { dryRun: true });
        if (refused === undefined) await creating;
        else expect(await refusal(creating)).toMatch(refused);
      });
    }
  }

  it('fill in the defaults of a volume', async () => {
    const created = await admin.create(LOCAL_VOLUMES, volume('defaults'));
    expect(created.spec).toEqual({ ...VOLUME, type: 'Volume', volumeMode: 'Filesystem' });
  });

  it('refuse changes of the immutable fields of a volume', async () => {
    await admin.create(LOCAL_VOLUMES, volume('fixed', { claim: { namespace: 'a', name: 'b', uid: 'c' } }));
    const change = (spec: object): Promise<string> =>
      refusal(admin.patch(LOCAL_VOLUMES, { name: 'fixed' }, { merge: { spec } }));
    expect(await change({ nodeName: 'node-b' })).toMatch(/nodeName is immutable/);
    expect(await change({ poolName: 'other' })).toMatch(/poolName is immutable/);
    expect(await change({ fsType: 'xfs' })).toMatch(/fsType is immutable/);
    expect(await change({ claim: null })).toMatch(/claim is immutable/);
    expect(await change({ claim: { uid: 'd' } })).toMatch(/claim is immutable/);
    await admin.patch(
      LOCAL_VOLUMES,
      { name: 'fixed' },
      { merge: { spec: { mutableParameters: { a: 'b' } } } },
    );
  });

  it('let a volume grow, and its request shrink to its current size at most', async () => {
    await admin.create(LOCAL_VOLUMES, volume('grows', { size: '2Gi' }));
    const status = { phase: 'Ready', capacity: '2Gi' };
    await admin.patch(LOCAL_VOLUMES, { name: 'grows' }, { merge: { status } }, { subresource: 'status' });
    const resize = (size: string): Promise<LocalVolume> =>
      admin.patch(LOCAL_VOLUMES, { name: 'grows' }, { merge: { spec: { size } } });
    await resize('500Gi');
    await resize('2048Mi');
    expect(await refusal(resize('1Gi'))).toMatch(/volumes do not shrink/);
  });

  it('refuse changes of the backend and the source of a pool, except growth', async () => {
    await admin.create(STORAGE_POOLS, {
      metadata: { name: 'fixed' },
      spec: { source: { path: '/srv' } },
    } as KubeObject);
    const change = (spec: object): Promise<string> =>
      refusal(admin.patch(STORAGE_POOLS, { name: 'fixed' }, { merge: { spec } }));
    expect(await change({ backend: 'image' })).toMatch(/backend is immutable/);
    expect(await change({ source: { path: '/mnt' } })).toMatch(/source is immutable/);
    const grow = (source: object): Promise<unknown> =>
      admin.patch(STORAGE_POOLS, { name: 'grown' }, { merge: { spec: { source } } });
    await admin.create(STORAGE_POOLS, {
      metadata: { name: 'grown' },
      spec: { source: { file: '/pool.img', fileSize: '10Gi' } },
    } as KubeObject);
    await grow({ fileSize: '20480Mi' });
    expect(await refusal(grow({ fileSize: '10Gi' }))).toMatch(/pools do not shrink/);
    expect(await refusal(grow({ file: '/other.img' }))).toMatch(/source is immutable/);
    await admin.delete(STORAGE_POOLS, { name: 'grown' });
    await admin.create(STORAGE_POOLS, {
      metadata: { name: 'grown' },
      spec: { source: { devices: ['/dev/a'] } },
    } as KubeObject);
    await grow({ devices: ['/dev/a', '/dev/b'] });
    expect(await refusal(grow({ devices: ['/dev/b'] }))).toMatch(/devices may be added, not removed/);
  });

  it('list the volumes of one node by a field selector', async () => {
    await admin.create(LOCAL_VOLUMES, volume('on-c', { nodeName: 'node-c' }));
    const found = await listAll(admin, LOCAL_VOLUMES, { fieldSelector: 'spec.nodeName=node-c' });
    expect(found.map(({ metadata }) => metadata?.name)).toEqual(['on-c']);
  });

  it('accept an inventory by server-side apply of its status, without a new version if it is equal', async () => {
    const status = {
      agentVersion: '1.0.0',
      kernel: { release: '6.12.0', features: ['fscrypt', 'nftables'], cgroup: 'v2' },
      cpu: { architecture: 'amd64', threads: 8, features: ['avx2'] },
      disks: [{ name: 'nvme0n1', type: 'nvme', rotational: false, size: '500107862016' }],
      storage: {
        capacity: '100Gi',
        allocated: '10Gi',
        volumes: 2,
        pools: [
          {
            name: 'default',
            backend: 'btrfs',
            ready: true,
            capacity: '100Gi',
            allocated: '10Gi',
            largestVolume: '90Gi',
            volumes: 2,
          },
        ],
      },
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'Serving',
          message: '',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    };
    await admin.create(NODE_INVENTORIES, { metadata: { name: 'node-a' } });
    const apply = async (): Promise<string | undefined> => {
      const patch = { apply: { status }, fieldManager: 'agent' };
      const written = await admin.patch(NODE_INVENTORIES, { name: 'node-a' }, patch, {
        subresource: 'status',
      });
      expect(written.status).toEqual(status);
      return written.metadata?.resourceVersion;
    };
    expect(await apply()).toBe(await apply());
  });

  it('have the printer columns of kubectl get', async ({ skip }) => {
    const kubectl = await requireTool({ skip }, 'kubectl');
    const kubeconfig = join(server?.directory ?? '', 'kubeconfig');
    await writeFile(kubeconfig, server?.kubeconfig ?? '', { mode: 0o600 });
    const get = async (...what: string[]): Promise<string> =>
      (await runCommand(kubectl, ['--kubeconfig', kubeconfig, 'get', ...what])).stdout;
    const columns = async (kind: string): Promise<readonly string[]> =>
      ((await get(kind)).split('\n')[0] ?? '').split(/ +/).filter((column) => column !== '');
    await admin.create(RUNTIME_POLICIES, {
      metadata: { name: 'audit' },
      spec: { audit: true },
    } as KubeObject);
    await admin.create(NODE_LABEL_RULES, {
      metadata: { name: 'nvme' },
      spec: { labels: [{ key: 'keelson.dev/disk', value: 'nvme' }] },
    } as KubeObject);
    expect(await columns('lvol')).toEqual([
      'NAME',
      'NODE',
      'POOL',
      'SIZE',
      'PHASE',
      'NAMESPACE',
      'CLAIM',
      'AGE',
    ]);
    expect(await columns('spool')).toEqual([
      'NAME',
      'BACKEND',
      'NODES',
      'USABLE',
      'CAPACITY',
      'ALLOCATED',
      'READY',
      'AGE',
    ]);
    expect(await columns('ninv')).toEqual([
      'NAME',
      'READY',
      'CAPACITY',
      'ALLOCATED',
      'VOLUMES',
      'KERNEL',
      'AGENT',
      'AGE',
    ]);
    expect(await columns('nlr')).toEqual(['NAME', 'NODES', 'VALID', 'APPLIED', 'AGE']);
    expect(await columns('rpol')).toEqual(['NAME', 'FAILURE', 'DRYRUN', 'NODES', 'READY', 'AGE']);
    await admin.create(NETWORK_POOLS, {
      metadata: { name: 'office' },
      spec: { masqueradeExclusions: ['192.168.0.0/16'] },
    });
    expect(await columns('npool')).toEqual(['NAME', 'DIRECT', 'NODES', 'AGE']);
    expect(await get('keelson', '-o', 'name')).toMatch(/runtimepolicy.keelson.dev\/audit/);
  });
});
