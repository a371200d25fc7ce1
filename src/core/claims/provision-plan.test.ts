import { describe, expect, test } from 'vitest';
import { Fault } from '../fault.ts';
import type { ClaimView, ClassView, NodeDirectory, NodeView, PoolView, VolumeView } from './provision.ts';
import { type ProvisionState, planProvision } from './provision-plan.ts';

const GI = 1n << 30n;

const claim: ClaimView = {
  uid: '1',
  namespace: 'team',
  name: 'data',
  isDeleting: false,
  className: 'local',
  volumeName: '',
  provisioner: 'keelson.dev',
  selectedNode: 'n1',
  request: '2Gi',
  accessModes: ['ReadWriteOnce'],
  volumeMode: 'Filesystem',
  hasSelector: false,
  attributesClassName: undefined,
  dataSource: undefined,
};
const unannotated: ClaimView = { ...claim, provisioner: undefined };
const waiting: ClassView = { name: 'local', waitsForConsumer: true, parameters: {}, allowedTopologies: [] };
const secret: ClassView = {
  ...waiting,
  parameters: {
    encrypted: 'true',
    'csi.storage.k8s.io/node-stage-secret-name': 'key',
    'csi.storage.k8s.io/node-stage-secret-namespace': 'default',
  },
};
const immediate: ClassView = { ...waiting, waitsForConsumer: false };
const pool: PoolView = { name: 'default', isReady: true, reason: undefined, freeBytes: 10n * GI };
const node = (name: string, ...pools: PoolView[]): NodeView => ({ name, labels: {}, isUsable: true, pools });
const cluster = (...views: NodeView[]): NodeDirectory => new Map(views.map((view) => [view.name, view]));
const n1 = node('n1', pool);
const n2 = node('n2', { ...pool, freeBytes: 20n * GI });
const nodes = cluster(n1, n2);
const volume: VolumeView = {
  nodeName: 'n1',
  poolName: 'default',
  isDeleting: false,
  phase: 'Pending',
  hasHandle: false,
  sizeBytes: 2n * GI,
  message: '',
  isPublished: false,
  isAnswered: true,
};
const ready: VolumeView = { ...volume, phase: 'Ready', hasHandle: true };
const clone = { apiGroup: '', kind: 'PersistentVolumeClaim', name: 'source', namespace: undefined };
const source = { content: { volumeName: 'pvc-0' }, nodeName: 'n2', poolName: 'default', sizeBytes: GI };

function plan(change: Partial<ProvisionState>): ReturnType<typeof planProvision> {
  return planProvision({
    claim,
    storageClass: waiting,
    volume: undefined,
    isOwned: false,
    isOffered: false,
    isOverdue: false,
    nodes,
    source: undefined,
    avoid: new Map(),
    ...change,
  });
}

describe('the next step', () => {
  const table: readonly (readonly [string, Partial<ProvisionState>, string])[] = [
    ['nothing for a class of another driver', { storageClass: undefined }, 'nothing'],
    ['nothing before a node is selected', { claim: { ...claim, selectedNode: undefined } }, 'nothing'],
    ['nothing when another provisioner is asked', { claim: { ...claim, provisioner: 'other' } }, 'nothing'],
    ['an intent before the binder has asked', { claim: unannotated }, 'create'],
    ['nothing before it has asked where it has a choice', { claim: unannotated, isOffered: true }, 'nothing'],
    ['an intent when it asks in spite of a choice', { isOffered: true }, 'create'],
    [
      'nothing before it has asked for a claim that selects',
      { claim: { ...unannotated, hasSelector: true } },
      'nothing',
    ],
    [
      'no PersistentVolume when a choice turns up',
      { claim: unannotated, volume: ready, isOffered: true },
      'nothing',
    ],
    ['a PersistentVolume when the binder asks then', { volume: ready, isOffered: true }, 'publish'],
    ['nothing for a bound claim', { claim: { ...claim, volumeName: 'pv' } }, 'nothing'],
    ['nothing for a claim that is being deleted', { claim: { ...claim, isDeleting: true } }, 'nothing'],
    ['nothing when it has its PersistentVolume', { isOwned: true }, 'nothing'],
    ['an intent on the selected node', {}, 'create'],
    ['an intent anywhere for an immediate class', { storageClass: immediate }, 'create'],
    ['patience while the node works', { volume }, 'nothing'],
    ['words when the node cannot yet', { volume: { ...volume, message: 'the pool is not mounted' } }, 'wait'],
    ['a PersistentVolume when the node is done', { volume: ready }, 'publish'],
    ['patience before there is a handle', { volume: { ...ready, hasHandle: false } }, 'nothing'],
    ['no PersistentVolume without its class', { volume: ready, storageClass: undefined }, 'wait'],
    ['another try when the volume is too small', { volume: { ...ready, sizeBytes: GI } }, 'discard'],
    [
      'another node when the selected one is full',
      { volume: { ...volume, phase: 'Exhausted' } },
      'reschedule',
    ],
    [
      'no trace of a full node once the claim has left it',
      { volume: { ...volume, phase: 'Exhausted' }, claim: { ...claim, selectedNode: undefined } },
      'discard',
    ],
    [
      'no trace of a full node for an immediate class',
      { volume: { ...volume, phase: 'Exhausted' }, storageClass: immediate },
      'discard',
    ],
    ['another node when the selected one was deleted', { nodes: cluster(n2) }, 'reschedule'],
    ['another node when it goes during the work', { volume, nodes: cluster(n2) }, 'reschedule'],
    ['no volume where the pod is not', { volume: ready, claim: { ...claim, selectedNode: 'n2' } }, 'discard'],
    ['no volume without a claim', { volume: ready, claim: undefined }, 'discard'],
    ['no volume for a claim that goes', { volume, claim: { ...claim, isDeleting: true } }, 'discard'],
    ['no volume for a claim that took another', { volume, claim: { ...claim, volumeName: 'pv' } }, 'discard'],
    ['no second try at once after a failure', { volume: { ...volume, phase: 'Failed' } }, 'discard'],
    [
      'the data of a volume that once had an owner stays',
      { volume: { ...ready, isPublished: true }, claim: undefined },
      'nothing',
    ],
    [
      'the data of a volume that has an owner stays',
      { volume: ready, isOwned: true, claim: undefined },
      'nothing',
    ],
    ['patience while the node cleans up', { volume: { ...volume, isDeleting: true } }, 'nothing'],
    [
      'no wait for a node that will not clean up',
      { volume: { ...volume, isDeleting: true }, nodes: cluster() },
      'abandon',
    ],
    [
      'no wait for a node that has never said a word',
      { volume: { ...volume, isDeleting: true, isAnswered: false }, isOverdue: true },
      'abandon',
    ],
    [
      'patience with a node that has just been asked',
      { volume: { ...volume, isDeleting: true, isAnswered: false } },
      'nothing',
    ],
    [
      'patience with a node that has the volume',
      { volume: { ...ready, isDeleting: true }, isOverdue: true },
      'nothing',
    ],
    [
      'a published volume of a lost node is kept',
      { volume: { ...ready, isDeleting: true, isPublished: true }, nodes: cluster() },
      'nothing',
    ],
    ['a wait where the node has just failed', { avoid: new Map([['n1', 'failed']]) }, 'wait'],
    ['another node where one was just full', { avoid: new Map([['n1', 'exhausted']]) }, 'reschedule'],
    ['another node where no agent is', { nodes: cluster(node('n1')) }, 'reschedule'],
    ['a wait when no node has room', { storageClass: immediate, nodes: cluster() }, 'wait'],
    ['words for a claim that cannot be served', { claim: { ...claim, hasSelector: true } }, 'wait'],
    [
      'words for an encrypted device',
      { claim: { ...claim, volumeMode: 'Block' }, storageClass: secret },
      'wait',
    ],
    ['words for an unknown parameter', { storageClass: { ...waiting, parameters: { pol: 'x' } } }, 'wait'],
  ];

  test.each(table)('is %s', (_name, change, expected) => {
    expect(plan(change).do).toBe(expected);
  });

  test('names the size, the node and the pool with the most room', () => {
    const fast = { ...pool, name: 'fast', freeBytes: 30n * GI };
    expect(plan({ nodes: cluster(node('n1', pool, fast)) })).toEqual({
      do: 'create',
      volume: {
        nodeName: 'n1',
        poolName: 'fast',
        sizeBytes: 2n * GI,
        fsType: undefined,
        parameters: {},
        source: undefined,
      },
    });
  });

  test('takes the pool that the class names, even where another has more room', () => {
    const named = { ...waiting, parameters: { pool: 'default', 'csi.storage.k8s.io/fstype': 'btrfs' } };
    const fast = { ...pool, name: 'fast', freeBytes: 30n * GI };
    expect(plan({ storageClass: named, nodes: cluster(node('n1', pool, fast)) })).toMatchObject({
      volume: { poolName: 'default', fsType: 'btrfs', parameters: { pool: 'default' } },
    });
  });
});

test('a volume is made in a pool that its class selects by labels, and what selected it goes with it', () => {
  const selecting = { ...waiting, parameters: { poolSelector: 'media in (ssd,nvme)' } };
  const labelled = (name: string, media: string, free: bigint): PoolView => ({
    ...pool,
    name,
    labels: { media },
    freeBytes: free * GI,
  });
  const there = [labelled('disks', 'hdd', 90n), labelled('old', 'ssd', 4n), labelled('new', 'nvme', 9n)];
  expect(plan({ storageClass: selecting, nodes: cluster(node('n1', ...there)) })).toMatchObject({
    do: 'create',
    volume: { poolName: 'new', parameters: selecting.parameters },
  });
  expect(plan({ storageClass: selecting, nodes: cluster(node('n1', there[0] ?? pool)) })).toMatchObject({
    do: 'reschedule',
  });
});

test('an encrypted volume is made in a pool that can encrypt, and its class goes with it', () => {
  const [plain, able] = [
    { ...pool, name: 'plain', freeBytes: 90n * GI, features: ['fs-ext4'] },
    { ...pool, name: 'able', features: ['encryption', 'fs-ext4'] },
  ];
  expect(plan({ storageClass: secret, nodes: cluster(node('n1', plain, able)) })).toMatchObject({
    do: 'create',
    volume: { poolName: 'able', parameters: { encrypted: 'true' } },
  });
  const without = plan({ storageClass: secret, nodes: cluster(node('n1', plain)) });
  expect(without).toMatchObject({ do: 'reschedule' });
  expect('fault' in without && without.fault?.message).toContain('pool plain does not support encryption');
});

describe('a clone', () => {
  const unannotated = { ...claim, dataSource: clone, provisioner: undefined, selectedNode: undefined };

  test('is made beside its source before anybody asks for a node', () => {
    expect(plan({ claim: unannotated, source })).toMatchObject({
      do: 'create',
      volume: { nodeName: 'n2', source: { volumeName: 'pvc-0' } },
    });
  });

  test.each([
    ['image', 'xfs', 300n, 'create'],
    ['image', 'xfs', 301n, 'wait'],
    ['image', 'ext4', 16n, 'create'],
    ['image', 'ext4', 300n, 'wait'],
    ['btrfs', 'btrfs', 300n, 'wait'],
  ] as const)(
    'of less than pool %s makes with %s, %i MiB, is as large as its source',
    (backend, fsType, mebibytes, does) => {
      const small = { ...claim, dataSource: clone, request: '1Mi' };
      const storageClass = { ...waiting, parameters: { 'csi.storage.k8s.io/fstype': fsType } };
      const features = [`fs-${fsType}`];
      const there = cluster(n1, node('n2', { ...pool, backend, features }));
      const from = { ...source, sizeBytes: mebibytes << 20n };
      expect(plan({ claim: small, storageClass, nodes: there, source: from }).do).toBe(does);
    },
  );

  test('stays there when the scheduler has another node in mind', () => {
    const onSource = { ...ready, nodeName: 'n2' };
    expect(plan({ claim: { ...claim, dataSource: clone }, source, volume: onSource }).do).toBe('publish');
  });

  test.each([
    ['its source is not there yet', { source: new Fault('precondition', 'not bound') }, 'not bound'],
    ['its source is larger', { source: { ...source, sizeBytes: 3n * GI } }, 'its source has 3 GiB'],
    ['the node of its source was deleted', { source, nodes: cluster(n1) }, 'node n2, which no longer exists'],
    [
      'the node of its source is full',
      { source, avoid: new Map([['n2', 'exhausted' as const]]) },
      'refused it recently',
    ],
    [
      'its class has another pool',
      { source, storageClass: { ...waiting, parameters: { pool: 'x' } } },
      'pool x',
    ],
    [
      'its class has pools with other labels',
      { source, storageClass: { ...waiting, parameters: { poolSelector: 'media=ssd' } } },
      'pool default has no labels, but must match poolSelector media=ssd',
    ],
    [
      'its class has pools of another backend',
      {
        source,
        nodes: cluster(node('n2', { ...pool, backend: 'btrfs' })),
        storageClass: { ...waiting, parameters: { backend: 'image' } },
      },
      'pool default has backend btrfs, not image',
    ],
  ])('waits, and is never sent elsewhere, when %s', (_name, change, words) => {
    const found = plan({ claim: { ...claim, dataSource: clone }, ...change });
    expect(found).toMatchObject({ do: 'wait' });
    expect('fault' in found && found.fault?.message).toContain(words);
  });

  test('of a snapshot is made beside it before anybody asks for a node', () => {
    const dataSource = { ...clone, apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot' };
    const nodeSnapshot = { ...source, content: { snapshotName: 'snapshot-0' } };
    expect(plan({ claim: { ...unannotated, dataSource }, source: nodeSnapshot })).toMatchObject({
      do: 'create',
      volume: { nodeName: 'n2', source: { snapshotName: 'snapshot-0' } },
    });
  });

  test('of a kind that only a populator knows is left to that', () => {
    const other = { ...clone, apiGroup: 'x.dev', kind: 'Image' };
    const found = plan({ claim: { ...claim, dataSource: other } });
    expect(found).toMatchObject({ do: 'wait', fault: { kind: 'unsupported' } });
  });
});
