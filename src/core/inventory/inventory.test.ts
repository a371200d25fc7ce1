import { expect, test } from 'vitest';
import { type InventoryFindings, planInventory } from './inventory.ts';
import {
  isProxied,
  parseCgroup,
  parseCpu,
  parseProxySocket,
  parseRuntimeVersion,
} from './inventory-parse.ts';
import type { PoolCapacity } from '../pools/pool-capacity.ts';
import { closePools, describePools, type MeasuredPool } from './inventory-pools.ts';

const GIB = 1n << 30n;
const at = (seconds: number): Date => new Date(seconds * 1_000);
const findings: InventoryFindings = {
  agentVersion: '1.0.0',
  facts: { operatingSystem: 'Debian', filesystems: ['btrfs'] },
  notServing: undefined,
  problems: [],
  orphans: [],
  network: undefined,
};

test('nothing is written when nothing has changed', () => {
  const first = planInventory(findings, undefined, at(1));
  expect(first?.observedTime).toBe('1970-01-01T00:00:01Z');
  expect(planInventory(findings, first, at(100))).toBeUndefined();
});

test('a change carries its time; conditions that did not turn keep theirs', () => {
  const first = planInventory(findings, undefined, at(1));
  const next = planInventory({ ...findings, notServing: 'pools are being opened' }, first, at(9));
  expect(next).toMatchObject({
    observedTime: '1970-01-01T00:00:09Z',
    conditions: [
      {
        type: 'Ready',
        status: 'False',
        message: 'pools are being opened',
        lastTransitionTime: '1970-01-01T00:00:09Z',
      },
      { type: 'Discovered', status: 'True', lastTransitionTime: '1970-01-01T00:00:01Z' },
      { type: 'OrphanedVolumes', status: 'False', lastTransitionTime: '1970-01-01T00:00:01Z' },
    ],
  });
});

test('orphans are named, and what was said of them stays while they cannot be counted', () => {
  const names = Array.from({ length: 12 }, (_, index) => `pvc-${index}`);
  const first = planInventory({ ...findings, orphans: names }, undefined, at(1));
  const message = first?.conditions?.at(-1)?.message;
  expect(message).toContain('pvc-9, and 2 more');
  expect(message).toContain('They are kept');
  expect(planInventory({ ...findings, orphans: undefined }, first, at(2))).toBeUndefined();
  const doomed = planInventory({ ...findings, orphans: names, orphanGraceMs: 259_200_000 }, first, at(3));
  expect(doomed?.conditions?.at(-1)?.message).toContain('are removed after 3d');
});

const figures = (over: Partial<PoolCapacity> = {}): PoolCapacity => ({
  totalBytes: 100n * GIB,
  promisableBytes: 95n * GIB,
  allocatedBytes: 10n * GIB,
  availableBytes: 85n * GIB,
  ...over,
});

const pool = (over: Partial<MeasuredPool> = {}): MeasuredPool => ({
  name: 'fast',
  backend: 'btrfs',
  problem: undefined,
  copies: 1,
  features: [],
  origin: 'config',
  labels: {},
  isAccepting: true,
  capacity: figures(),
  ...over,
});

test('pools are published without their reserve, and summed', () => {
  const storage = describePools([pool(), pool({ name: 'slow', problem: 'not mounted' })]);
  expect(storage).toMatchObject({ capacity: '190Gi', allocated: '20Gi', volumes: 2 });
  expect(storage.pools).toMatchObject([
    { name: 'fast', ready: true, capacity: '95Gi', allocated: '10Gi', largestVolume: '85Gi', volumes: 1 },
    { name: 'slow', ready: false, reason: 'not mounted', largestVolume: '0' },
  ]);
});

test('noise of the filesystem is not published; a volume operation, or much of it, is', () => {
  const before = describePools([pool()]);
  const noisy = pool({
    capacity: figures({ availableBytes: 85n * GIB - (100n << 20n), allocatedBytes: 10n * GIB + 4096n }),
  });
  expect(describePools([noisy], before)).toEqual(before);
  expect(describePools([noisy]).pools[0]?.largestVolume).toBe('86940Mi');
  const less = pool({ capacity: figures({ availableBytes: 84n * GIB }) });
  expect(describePools([less], before).pools[0]?.largestVolume).toBe('84Gi');
  expect(describePools([pool({ copies: 2 })], before).volumes).toBe(2);
  const labels = { media: 'ssd' };
  expect(describePools([pool({ labels })], before).pools[0]?.labels).toEqual(labels);
});

test('a pool that is not open keeps its figures and takes no volumes; one that is drained says so', () => {
  const before = describePools([pool()]);
  const labels = { media: 'ssd' };
  const closed = pool({
    capacity: undefined,
    isAccepting: false,
    problem: 'disk lost',
    features: [],
    labels,
  });
  expect(describePools([closed], before).pools).toMatchObject([
    {
      ready: false,
      reason: 'disk lost',
      capacity: '95Gi',
      allocated: '10Gi',
      largestVolume: '0',
      volumes: 1,
      labels,
    },
  ]);
  expect(describePools([pool({ isAccepting: false, problem: 'removed' })]).pools).toMatchObject([
    { ready: false, reason: 'removed', capacity: '95Gi', largestVolume: '0' },
  ]);
});

test('pools that cannot be asked keep what is known of them and take no volumes', () => {
  const before = describePools([pool()]);
  expect(closePools([{ name: 'fast', backend: 'btrfs' }], 'disk lost', before).pools).toMatchObject([
    {
      capacity: '95Gi',
      allocated: '10Gi',
      volumes: 1,
      ready: false,
      reason: 'disk lost',
      largestVolume: '0',
    },
  ]);
  expect(closePools([{ name: 'new', backend: 'btrfs' }], 'opening')).toMatchObject({
    capacity: '0',
    volumes: 0,
  });
});

test.each([
  ['0::/x\n', 'v2'],
  ['4:memory:/x\n1:name=systemd:/\n', 'v1'],
  ['4:memory:/x\n0::/\n', 'hybrid'],
])('%j is cgroup %s', (text, version) => {
  expect(parseCgroup(text)).toBe(version);
});

test.each([
  ['containerRuntimeEndpoint: unix:///run/keelson/cri.sock', true],
  ['containerRuntimeEndpoint: "unix:///run/keelson-cri.sock"', true],
  ['containerRuntimeEndpoint: unix:///run/containerd/containerd.sock', false],
  ['', false],
])('%j means proxied: %s', (text, proxied) => {
  expect(isProxied(text)).toBe(proxied);
});

test.each([
  [
    'the proxy, and kubelet connected',
    ['01 1 /run/keelson/cri.sock~', '03 2 /run/keelson/cri.sock~'],
    true,
    true,
  ],
  ['the proxy alone', ['01 1 /run/keelson/cri.sock'], true, false],
  ['other sockets of ours', ['01 1 /run/keelson/cni.sock', '03 2 /run/keelson/admin.sock'], false, false],
  ['a runtime alone', ['03 2 /run/containerd/containerd.sock'], false, false],
])('%s: is read from /proc/net/unix', (_what, sockets, listens, connected) => {
  const lines = sockets.map((socket) => `00000000: 00000002 00000000 00010000 0001 ${socket}`);
  const text = ['Num       RefCount Protocol Flags    Type St Inode Path', ...lines, ''].join('\n');
  expect(parseProxySocket(text)).toEqual({ listens, connected });
});

test('processors of ARM and versions of runtimes are read', () => {
  const text = 'processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n';
  expect(parseCpu(text, 'arm64')).toEqual({
    architecture: 'arm64',
    vendor: '0x41',
    model: '0xd0c',
    threads: 1,
    features: ['asimd', 'fp'],
  });
  expect(parseRuntimeVersion('containerd://2.1.0')).toEqual({ name: 'containerd', version: '2.1.0' });
  expect(parseRuntimeVersion('')).toBeUndefined();
});

test('what is wrong with the network is said, and stays said while the network is being opened', () => {
  const unreachable = ['node b: its address 192.0.2.7 is not on any network of this node'];
  const network = { unreachable, strays: ['pod team-a/web-0'] };
  const first = planInventory({ ...findings, network }, undefined, at(1));
  expect(first?.conditions).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ type: 'PeersReachable', status: 'False', message: unreachable[0] }),
      expect.objectContaining({
        type: 'FormerAddresses',
        status: 'True',
        message: expect.stringMatching(/pod team-a\/web-0. Re-create them/) as string,
      }),
    ]),
  );
  expect(planInventory(findings, first, at(2))).toBeUndefined();
  const well = planInventory({ ...findings, network: { unreachable: [], strays: [] } }, first, at(3));
  expect(well?.conditions).toContainEqual(
    expect.objectContaining({ type: 'PeersReachable', status: 'True', message: '' }),
  );
});
