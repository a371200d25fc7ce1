import { describe, expect, test } from 'vitest';
import { Fault } from '../fault.ts';
import type { ClaimView, ClassView, NodeView, VolumeView } from '../claims/provision.ts';
import type { ClaimFacts, OwnerFacts } from './claim-facts.ts';
import { explainClaim } from './explain-claim.ts';
import type { NodeFacts, PodFacts } from './facts.ts';

const GI = 1n << 30n;
const CLASS: ClassView = { name: 'local', waitsForConsumer: true, parameters: {}, allowedTopologies: [] };
const IMMEDIATE: ClassView = { ...CLASS, waitsForConsumer: false };
const CLAIM: ClaimView = {
  uid: '1',
  namespace: 'team',
  name: 'data',
  isDeleting: false,
  className: 'local',
  volumeName: '',
  provisioner: undefined,
  selectedNode: undefined,
  request: '20Gi',
  accessModes: ['ReadWriteOnce'],
  volumeMode: 'Filesystem',
  hasSelector: false,
  attributesClassName: undefined,
  dataSource: undefined,
};
const ASKED: ClaimView = { ...CLAIM, provisioner: 'keelson.dev' };
const SELECTED: ClaimView = { ...ASKED, selectedNode: 'n1' };
const VOLUME: VolumeView = {
  nodeName: 'n1',
  poolName: 'default',
  isDeleting: false,
  phase: 'Pending',
  hasHandle: false,
  sizeBytes: 20n * GI,
  message: '',
  isPublished: false,
  isAnswered: true,
};
const OWNER: OwnerFacts = {
  name: 'pvc-1',
  phase: 'Bound',
  isDeleting: false,
  isOurs: true,
  claim: 'team/data',
  isForThisClaim: true,
  nodeName: 'n1',
};
const POD: PodFacts = {
  namespace: 'team',
  name: 'web',
  phase: 'Pending',
  isDeleting: false,
  nodeName: undefined,
  schedulerMessage: undefined,
  gates: [],
  claimNames: ['data'],
  tolerations: [],
  nodeSelector: {},
  affinity: undefined,
  requests: {},
  hostPorts: [],
  unweighed: [],
};

function node(name: string, freeGi: bigint, change: Partial<NodeFacts> = {}): NodeFacts {
  const view: NodeView = {
    name,
    labels: { zone: name },
    isUsable: change.isCordoned !== true,
    pools: [{ name: 'default', isReady: true, reason: undefined, freeBytes: freeGi * GI }],
  };
  return {
    name,
    view,
    isCordoned: false,
    notReady: undefined,
    taints: [],
    isRegistered: true,
    agent: { state: 'serves', version: '1.0.0', message: undefined },
    published: new Map([['local', freeGi * GI]]),
    allocatable: { pods: 110_000n, cpu: 2_000n },
    requested: {},
    usedPorts: [],
    ...change,
  };
}

/** A node with room in a pool of btrfs that cannot make all that pools can. */
function without(...features: readonly string[]): NodeFacts {
  const roomy = node(`n${features.length}`, 100n);
  const all = ['block', 'fs-btrfs', 'fs-ext4', 'fs-xfs'].filter((feature) => !features.includes(feature));
  const pools = roomy.view.pools.map((pool) => ({ ...pool, backend: 'btrfs' as const, features: all }));
  return { ...roomy, view: { ...roomy.view, pools } };
}

const FS_XFS = { 'csi.storage.k8s.io/fstype': 'xfs' };
const ROOMY = [node('n1', 100n), node('n2', 50n)];
const FULL = [node('n1', 11n), node('n2', 4n)];

type Change = Partial<Omit<ClaimFacts, 'state'>> & {
  readonly claim?: ClaimView;
  readonly class?: ClassView | undefined;
  readonly made?: VolumeView;
  readonly source?: Fault;
};

function explain(change: Change): ReturnType<typeof explainClaim> {
  const { claim = CLAIM, made, source, nodes = ROOMY, owner, ...rest } = change;
  const storageClass = 'class' in change ? change.class : CLASS;
  return explainClaim({
    state: {
      claim,
      storageClass,
      volume: made,
      isOwned: owner !== undefined,
      isOffered: false,
      isOverdue: false,
      nodes: new Map(nodes.map(({ view }) => [view.name, view])),
      source,
      avoid: new Map(),
    },
    phase: 'Pending',
    ageSeconds: 60,
    finalizers: [],
    storageClass: storageClass && { provisioner: 'keelson.dev', canExpand: true },
    ourClasses: ['local'],
    volume: made && { name: 'pvc-1', ageSeconds: 60, isSeen: true, isCopy: false },
    owner,
    grantedBytes: undefined,
    conditions: [],
    pods: [],
    pinned: [],
    nodes,
    clones: [],
    events: [],
    leader: undefined,
    blind: new Set(),
    ...rest,
  });
}

describe('a claim without a volume', () => {
  const cases: readonly (readonly [string, Change, verdict: string, reason: string, words: string])[] = [
    ['no pod uses it', {}, 'waits', 'WaitForFirstConsumer', 'waits for the first pod'],
    [
      'it names no class',
      { claim: { ...CLAIM, className: '' }, class: undefined },
      'stuck',
      'StorageClassNotSet',
      'no StorageClass',
    ],
    [
      'its class does not exist',
      { class: undefined },
      'stuck',
      'StorageClassNotFound',
      'local does not exist',
    ],
    [
      'its class is of another driver',
      { class: undefined, storageClass: { provisioner: 'other.io', canExpand: false } },
      'stuck',
      'OtherProvisionerClass',
      'belongs to other.io',
    ],
    ['every node is full', { pods: [POD], nodes: FULL }, 'stuck', 'InsufficientCapacity', 'requests 20 GiB'],
    [
      'it is immediate and every node is full',
      { claim: ASKED, class: IMMEDIATE, nodes: FULL },
      'stuck',
      'InsufficientCapacity',
      'the largest is 11 GiB, in pool default on n1',
    ],
    [
      'no node has the pool of its class',
      { pods: [POD], class: { ...CLASS, parameters: { pool: 'fast' } } },
      'stuck',
      'NoPool',
      'no candidate node has pool fast of StorageClass local',
    ],
    [
      'pools cannot make block volumes',
      { pods: [POD], claim: { ...CLAIM, volumeMode: 'Block' }, nodes: [without('block'), without('block')] },
      'stuck',
      'PoolIncompatible',
      'no candidate node has a pool for a volume of volumeMode Block',
    ],
    [
      'pools have another backend, and it is immediate',
      {
        claim: ASKED,
        class: { ...IMMEDIATE, parameters: { backend: 'image' } },
        nodes: [without(), without()],
      },
      'stuck',
      'PoolIncompatible',
      'StorageClass local requires backend image',
    ],
    [
      'no pool has the labels that its class selects',
      {
        pods: [POD],
        class: { ...CLASS, parameters: { poolSelector: 'media=ssd' } },
        nodes: [without(), without('block')],
      },
      'stuck',
      'PoolIncompatible',
      'StorageClass local requires a pool with media=ssd',
    ],
    [
      'the only pool has not its file system',
      { pods: [POD], class: { ...CLASS, parameters: FS_XFS }, nodes: [without('fs-xfs')] },
      'stuck',
      'PoolIncompatible',
      'pool default does not support xfs',
    ],
    [
      'it is a block device of a class whose volumes are encrypted',
      {
        pods: [POD],
        claim: { ...CLAIM, volumeMode: 'Block' },
        class: {
          ...CLASS,
          parameters: {
            encrypted: 'true',
            'csi.storage.k8s.io/node-stage-secret-name': 'key',
            'csi.storage.k8s.io/node-stage-secret-namespace': 'team',
          },
        },
      },
      'stuck',
      'Unsupported',
      'requests volumeMode Block of StorageClass local',
    ],
    [
      'it is Block, and the pool lacks the file system that its class has for others',
      {
        pods: [POD],
        claim: { ...CLAIM, volumeMode: 'Block' },
        class: { ...CLASS, parameters: FS_XFS },
        nodes: [without('fs-xfs')],
      },
      'waits',
      'Scheduling',
      'the scheduler places pod web',
    ],
    [
      'all nodes are cordoned',
      { pods: [POD], nodes: [node('n1', 100n, { isCordoned: true }), node('n2', 1n, { isCordoned: true })] },
      'stuck',
      'Cordoned',
      'every node is cordoned',
    ],
    [
      'no node is within the topologies',
      { pods: [POD], class: { ...CLASS, allowedTopologies: [[{ key: 'zone', values: ['west'] }]] } },
      'stuck',
      'Topology',
      'allowedTopologies',
    ],
    [
      'no agent was ever there',
      {
        pods: [POD],
        nodes: [
          node('n1', 9n, { agent: { state: 'never-reported', version: undefined, message: undefined } }),
        ],
      },
      'stuck',
      'NoAgent',
      'no Keelson agent has reported',
    ],
    [
      'kubelet does not know the driver',
      { pods: [POD], nodes: [node('n1', 90n, { isRegistered: false })] },
      'stuck',
      'NotRegistered',
      'CSINode',
    ],
    [
      'the capacity is not published to the scheduler',
      { pods: [POD], nodes: [node('n1', 90n, { published: new Map() })] },
      'stuck',
      'NotPublished',
      '(CSIStorageCapacity) is none',
    ],
    [
      'its pod bypasses the scheduler',
      { pods: [{ ...POD, nodeName: 'n1' }] },
      'stuck',
      'SchedulerBypassed',
      'spec.nodeName',
    ],
    ['its pod is gated', { pods: [{ ...POD, gates: ['quota'] }] }, 'waits', 'SchedulingGated', 'quota'],
    [
      'the scheduler is about to choose',
      { pods: [POD] },
      'waits',
      'Scheduling',
      'the scheduler places pod web',
    ],
    [
      'the scheduler refuses for reasons of its own',
      { pods: [{ ...POD, schedulerMessage: '0/2 nodes: anti-affinity', unweighed: ['pod anti-affinity'] }] },
      'stuck',
      'Unschedulable',
      'anti-affinity',
    ],
    [
      'its pod must be where another volume is, which is full',
      {
        pods: [POD],
        nodes: [node('n1', 1n), node('n2', 50n)],
        pinned: [{ claimName: 'log', nodeNames: ['n1'] }],
      },
      'stuck',
      'InsufficientCapacity',
      'the only candidate node is n1',
    ],
    [
      'it asks for an unknown mode',
      { claim: { ...ASKED, volumeMode: 'Tape' } },
      'stuck',
      'Invalid',
      'volumeMode Tape',
    ],
    [
      'its class has a parameter that means nothing',
      { class: { ...CLASS, parameters: { pol: 'x' } } },
      'stuck',
      'Invalid',
      'unknown parameter "pol"',
    ],
    [
      'its source is not ready',
      {
        claim: {
          ...CLAIM,
          dataSource: { apiGroup: '', kind: 'PersistentVolumeClaim', name: 'src', namespace: undefined },
        },
        source: new Fault('precondition', 'starts from claim src, which is not bound yet'),
      },
      'waits',
      'SourceNotReady',
      'not bound yet',
    ],
    [
      'the controller has just been asked',
      { claim: SELECTED, ageSeconds: 2 },
      'waits',
      'InProgress',
      'on node n1',
    ],
    [
      'the controller does not act',
      { claim: SELECTED, ageSeconds: 90 },
      'stuck',
      'ControllerUnresponsive',
      'its lease has no holder',
    ],
    [
      'its volume is being made',
      { claim: SELECTED, made: VOLUME },
      'waits',
      'InProgress',
      'pool default on node n1',
    ],
    [
      'its agent is down',
      {
        claim: SELECTED,
        made: VOLUME,
        volume: { name: 'pvc-1', ageSeconds: 40, isSeen: false, isCopy: false },
      },
      'stuck',
      'AgentUnresponsive',
      'agent of node n1 has not acted',
    ],
    [
      'its volume is being copied, which may take its time',
      {
        claim: SELECTED,
        made: VOLUME,
        volume: { name: 'pvc-1', ageSeconds: 40, isSeen: false, isCopy: true },
      },
      'waits',
      'InProgress',
      'pool default on node n1',
    ],
    [
      'its agent cannot make it yet',
      { claim: SELECTED, made: { ...VOLUME, message: 'the pool is not mounted' } },
      'stuck',
      'AgentCannot',
      'the pool is not mounted',
    ],
    [
      'its volume is ready',
      {
        claim: SELECTED,
        made: { ...VOLUME, phase: 'Ready', hasHandle: true },
        volume: { name: 'pvc-1', ageSeconds: 1, isSeen: true, isCopy: false },
      },
      'waits',
      'InProgress',
      'creates its PersistentVolume',
    ],
    [
      'its PersistentVolume is there',
      { owner: { ...OWNER, phase: 'Available' } },
      'waits',
      'Binding',
      'binds the two',
    ],
    [
      'the PersistentVolume that it names is missing',
      { claim: { ...CLAIM, volumeName: 'pv-x' } },
      'stuck',
      'PersistentVolumeNotFound',
      'pv-x, which does not exist',
    ],
    [
      'the PersistentVolume that it names was released by another',
      {
        claim: { ...CLAIM, volumeName: 'pv-x' },
        owner: { ...OWNER, name: 'pv-x', phase: 'Released', claim: 'team/old', isForThisClaim: false },
      },
      'stuck',
      'PersistentVolumeTaken',
      'belongs to claim team/old',
    ],
  ];

  test.each(cases)('when %s', (_name, change, verdict, reason, words) => {
    const found = explain(change);
    expect(found).toMatchObject({ subject: 'claim team/data', verdict, reason });
    expect(JSON.stringify(found)).toContain(words.replaceAll('"', '\\"'));
  });

  test('names all that each node lacks', () => {
    const nodes = [node('n1', 1n, { isCordoned: true }), node('n2', 4n)];
    expect(explain({ pods: [POD], nodes }).nodes).toEqual([
      {
        name: 'n1',
        lacks: [
          { code: 'Cordoned', text: 'it is cordoned' },
          { code: 'InsufficientCapacity', text: 'pool default has 1 GiB free, 20 GiB is requested' },
        ],
      },
      {
        name: 'n2',
        lacks: [{ code: 'InsufficientCapacity', text: 'pool default has 4 GiB free, 20 GiB is requested' }],
      },
    ]);
  });

  test('leaves nodes that the pod may not go to out of the main reason', () => {
    const controlPlane = node('cp', 90n, {
      taints: [{ key: 'control-plane', value: '', effect: 'NoSchedule' }],
    });
    expect(explain({ pods: [POD], nodes: [controlPlane, ...FULL] })).toMatchObject({
      reason: 'InsufficientCapacity',
    });
  });

  test('says each reason where nodes have different ones', () => {
    const nodes = [node('n1', 100n, { isCordoned: true }), node('n2', 4n)];
    const found = explain({ pods: [POD], nodes });
    expect(found.reason).toBe('NoMatchingNode');
    expect(found.summary).toBe(
      'no node can take it: n1: it is cordoned; n2: pool default has 4 GiB free, 20 GiB is requested',
    );
    expect(found.advice[0]).toContain('kubectl uncordon n1');
  });

  test('concludes nothing from what is hidden', () => {
    const blind = new Set(['nodes', 'classes'] as const);
    const event = {
      isWarning: true,
      reason: 'ProvisioningFailed',
      note: 'no node can have it',
      reporter: 'keelson',
      ageSeconds: 1,
      count: 1,
    };
    expect(explain({ class: undefined, nodes: [], blind })).toMatchObject({
      verdict: 'waits',
      reason: 'NotVisible',
    });
    expect(explain({ class: undefined, nodes: [], blind, events: [event] }).summary).toBe(
      'message of keelson: no node can have it',
    );
    expect(explain({ nodes: [], pods: [POD], blind: new Set(['nodes']) })).toMatchObject({
      verdict: 'waits',
    });
  });
});

describe('a claim with a volume', () => {
  const bound: Change = {
    claim: { ...SELECTED, volumeName: 'pvc-1' },
    phase: 'Bound',
    owner: OWNER,
    made: { ...VOLUME, phase: 'Ready', hasHandle: true, isPublished: true },
    grantedBytes: 20n * GI,
  };
  const more = { ...SELECTED, volumeName: 'pvc-1', request: '40Gi' };
  const cases: readonly (readonly [string, Change, verdict: string, reason: string, words: string])[] = [
    ['is well', {}, 'well', 'Bound', 'a volume of 20 GiB in pool default on node n1'],
    [
      'whose node is not Ready is stuck',
      { nodes: [node('n1', 9n, { notReady: 'kubelet stopped posting' })] },
      'stuck',
      'NodeNotReady',
      'kubelet stopped posting',
    ],
    [
      'whose node was deleted is stuck',
      { nodes: [node('n2', 9n)] },
      'stuck',
      'NodeLost',
      'bring the node back',
    ],
    [
      'whose data is lost is stuck',
      { made: { ...VOLUME, phase: 'Lost', message: 'no longer on this node' } },
      'stuck',
      'VolumeLost',
      'no longer on this node',
    ],
    [
      'whose PersistentVolume is being deleted is stuck',
      { owner: { ...OWNER, isDeleting: true } },
      'stuck',
      'OwnerDeleting',
      'Retain',
    ],
    [
      'of another driver is well',
      { owner: { ...OWNER, isOurs: false } },
      'well',
      'Bound',
      'does not belong to Keelson',
    ],
    ['that grows waits', { claim: more }, 'waits', 'Expanding', 'it has 20 GiB and requests 40 GiB'],
    [
      'that cannot grow is stuck',
      { claim: more, nodes: FULL },
      'stuck',
      'InsufficientCapacity',
      'pool default has 11 GiB free on node n1',
    ],
    [
      'whose class forbids growing is stuck',
      { claim: more, storageClass: { provisioner: 'keelson.dev', canExpand: false } },
      'stuck',
      'ClassForbidsExpansion',
      'allowVolumeExpansion',
    ],
    ['whose PersistentVolume was deleted is stuck', { phase: 'Lost' }, 'stuck', 'Lost', 'was deleted'],
  ];

  test.each(cases)('%s', (_name, change, verdict, reason, words) => {
    const found = explain({ ...bound, ...change });
    expect(found).toMatchObject({ verdict, reason });
    expect(JSON.stringify(found)).toContain(words);
  });

  test.each([
    ['a pod uses it', { finalizers: ['kubernetes.io/pvc-protection'], pods: [POD] }, 'InUse', 'web'],
    [
      'a claim is made from it',
      { finalizers: ['provisioner.storage.kubernetes.io/cloning-protection'], clones: ['copy'] },
      'CloneInProgress',
      'copy',
    ],
    ['a foreign finalizer', { finalizers: ['x.dev/hold'] }, 'Finalizer', 'x.dev/hold'],
  ])('that is being deleted stays while %s', (_name, change, reason, words) => {
    const found = explain({ ...bound, claim: { ...SELECTED, isDeleting: true }, ...change });
    expect(found).toMatchObject({ verdict: 'waits', reason });
    expect(found.summary).toContain(words);
  });
});
