import { describe, expect, test } from 'vitest';
import { explainPod } from './explain-pod.ts';
import type { Explanation } from './explanation.ts';
import type { EventFacts, NodeFacts, PodFacts } from './facts.ts';
import { tolerates } from './node-fit.ts';
import type { ContainerFacts, PodSituation } from './pod-situation.ts';

const POD: PodFacts = {
  namespace: 'team',
  name: 'web',
  phase: 'Pending',
  isDeleting: false,
  nodeName: undefined,
  schedulerMessage: '0/1 nodes are available',
  gates: [],
  claimNames: ['data'],
  tolerations: [],
  nodeSelector: {},
  affinity: undefined,
  requests: { cpu: 500n },
  hostPorts: [],
  unweighed: [],
};
const PLACED: PodFacts = { ...POD, nodeName: 'n1', schedulerMessage: undefined };
const RUNNING: PodFacts = { ...PLACED, phase: 'Running' };

function node(change: Partial<NodeFacts> = {}, name = 'n1'): NodeFacts {
  return {
    name,
    view: { name, labels: { disk: 'ssd' }, isUsable: true, pools: [] },
    isCordoned: false,
    notReady: undefined,
    taints: [],
    isRegistered: true,
    agent: { state: 'serves', version: '1.0.0', message: undefined },
    published: new Map(),
    allocatable: { cpu: 2_000n, pods: 110_000n },
    requested: { cpu: 1_000n },
    usedPorts: [],
    ...change,
  };
}

const CONTAINER: ContainerFacts = {
  name: 'app',
  image: 'shop:1',
  isInit: false,
  restarts: 0,
  isReady: true,
  waiting: undefined,
  ended: undefined,
};
const creating: ContainerFacts = {
  ...CONTAINER,
  isReady: false,
  waiting: { reason: 'ContainerCreating', message: '' },
};

function warning(reason: string, note: string): EventFacts {
  return { isWarning: true, reason, note, reporter: 'kubelet', ageSeconds: 5, count: 2 };
}

const stuckClaim: Explanation = {
  subject: 'claim team/data',
  verdict: 'stuck',
  reason: 'InsufficientCapacity',
  summary: 'it wants 20 GiB',
  nodes: [],
  notes: [],
  advice: ['ask for less'],
};

function explain(change: Partial<PodSituation>): Explanation {
  return explainPod({
    pod: POD,
    ageSeconds: 60,
    failure: undefined,
    isReady: true,
    finalizers: [],
    graceSeconds: undefined,
    containers: [CONTAINER],
    nodes: [node()],
    pinned: [],
    missingClaims: [],
    claims: [],
    events: [],
    ...change,
  });
}

describe('a pod', () => {
  const cases: readonly (readonly [
    string,
    Partial<PodSituation>,
    verdict: string,
    reason: string,
    words: string,
  ])[] = [
    [
      'that uses a claim that is missing',
      { missingClaims: ['data'] },
      'stuck',
      'ClaimNotFound',
      'claim data, which does not exist',
    ],
    [
      'whose claim is stuck',
      { claims: [{ isBound: false, explanation: stuckClaim }] },
      'stuck',
      'InsufficientCapacity',
      'its claim team/data is stuck',
    ],
    [
      'that asks for too much',
      { nodes: [node({ requested: { cpu: 1_600n } })] },
      'stuck',
      'Resources',
      '500m cpu, 400m of its 2 are free',
    ],
    [
      'that asks for what no node has',
      { pod: { ...POD, requests: { 'vendor.io/gpu': 1_000n } } },
      'stuck',
      'Resources',
      'it has no vendor.io/gpu',
    ],
    [
      'on a full node',
      { nodes: [node({ requested: { pods: 110_000n } })] },
      'stuck',
      'Resources',
      '1 pods, 0 of its 110 are free',
    ],
    [
      'where all is cordoned',
      { nodes: [node({ isCordoned: true })] },
      'stuck',
      'Cordoned',
      'kubectl uncordon n1',
    ],
    [
      'that a taint keeps away',
      { nodes: [node({ taints: [{ key: 'team', value: 'db', effect: 'NoSchedule' }] })] },
      'stuck',
      'Taint',
      'team=db:NoSchedule',
    ],
    [
      'that comes before the agent',
      {
        nodes: [node({ taints: [{ key: 'keelson.dev/agent-not-ready', value: '', effect: 'NoSchedule' }] })],
      },
      'stuck',
      'AgentNotReady',
      'has not served yet',
    ],
    [
      'where the node is silent',
      {
        nodes: [
          node({
            notReady: 'stopped posting',
            taints: [{ key: 'node.kubernetes.io/unreachable', value: '', effect: 'NoSchedule' }],
          }),
        ],
      },
      'stuck',
      'NodeNotReady',
      'stopped posting',
    ],
    [
      'whose selector no node meets',
      { pod: { ...POD, nodeSelector: { disk: 'nvme' } } },
      'stuck',
      'NodeSelector',
      'disk=nvme, the node has disk=ssd',
    ],
    [
      'whose affinity no node meets',
      { pod: { ...POD, affinity: [[{ key: 'zone', operator: 'In', values: ['a', 'b'] }]] } },
      'stuck',
      'NodeSelector',
      'zone in (a, b), the node has no label zone',
    ],
    [
      'whose port is taken',
      { pod: { ...POD, hostPorts: ['TCP/80'] }, nodes: [node({ usedPorts: ['TCP/80'] })] },
      'stuck',
      'HostPort',
      'TCP/80',
    ],
    [
      'whose volumes are on two nodes',
      {
        pinned: [
          { claimName: 'a', nodeNames: ['n1'] },
          { claimName: 'b', nodeNames: ['n2'] },
        ],
        nodes: [node(), node({}, 'n2')],
      },
      'stuck',
      'VolumeOnOtherNode',
      'the volume of claim a is on n1',
    ],
    ['that only the scheduler can explain', {}, 'stuck', 'Unschedulable', '0/1 nodes are available'],
    [
      'that the scheduler has not seen',
      { pod: { ...POD, schedulerMessage: undefined } },
      'stuck',
      'Scheduling',
      'kube-scheduler',
    ],
    [
      'whose volume cannot be mounted',
      {
        pod: PLACED,
        containers: [creating],
        events: [warning('FailedMount', 'rpc error: volume v1 is not known')],
      },
      'stuck',
      'VolumeNotMounted',
      'volume v1 is not known',
    ],
    [
      'whose network cannot be made',
      {
        pod: PLACED,
        containers: [creating],
        events: [warning('FailedCreatePodSandBox', 'no address is free')],
      },
      'stuck',
      'SandboxFailed',
      'no address is free',
    ],
    [
      'that a policy refuses',
      {
        pod: PLACED,
        containers: [creating],
        events: [
          warning(
            'FailedCreatePodSandBox',
            'rpc error: RuntimePolicy no-root denies RunPodSandbox for pod team/web: no',
          ),
        ],
      },
      'stuck',
      'PolicyDenied',
      'kubectl get runtimepolicies',
    ],
    [
      'whose image cannot be pulled',
      {
        pod: PLACED,
        containers: [{ ...creating, waiting: { reason: 'ImagePullBackOff', message: 'not found' } }],
        events: [warning('Failed', 'pull')],
      },
      'stuck',
      'ImagePullBackOff',
      'shop:1 of container app cannot be pulled',
    ],
    [
      'that crashes',
      {
        pod: RUNNING,
        containers: [
          {
            ...CONTAINER,
            isReady: false,
            restarts: 4,
            waiting: { reason: 'CrashLoopBackOff', message: '' },
            ended: { reason: 'Error', exitCode: 3, message: '' },
          },
        ],
      },
      'stuck',
      'CrashLoopBackOff',
      '4 restarts); it ended: Error, exit code 3',
    ],
    [
      'whose node is down',
      { pod: PLACED, nodes: [node({ notReady: 'stopped posting' })] },
      'stuck',
      'NodeNotReady',
      'cannot run elsewhere',
    ],
    ['that starts', { pod: PLACED, containers: [creating] }, 'waits', 'Starting', 'volumes first'],
    ['that runs', { pod: RUNNING }, 'well', 'Running', 'it runs on n1'],
    [
      'that is not ready',
      { pod: RUNNING, containers: [{ ...CONTAINER, isReady: false }] },
      'stuck',
      'NotReady',
      'container app is not ready',
    ],
    [
      'that failed',
      { pod: { ...RUNNING, phase: 'Failed' }, failure: 'Evicted: low on memory' },
      'stuck',
      'Failed',
      'low on memory',
    ],
    ['that is done', { pod: { ...RUNNING, phase: 'Succeeded' } }, 'well', 'Succeeded', 'it has completed'],
    [
      'that ends on a node that is down',
      { pod: { ...RUNNING, isDeleting: true }, nodes: [node({ notReady: 'off' })] },
      'stuck',
      'NodeNotReady',
      '--force',
    ],
    [
      'that ends',
      { pod: { ...RUNNING, isDeleting: true }, graceSeconds: 30 },
      'waits',
      'Terminating',
      '30 s',
    ],
  ];

  test.each(cases)('%s is explained', (_name, change, verdict, reason, words) => {
    const found = explain(change);
    expect(found).toMatchObject({ subject: 'pod team/web', verdict, reason });
    expect(JSON.stringify(found)).toContain(words);
  });

  test('in trouble for itself is not blamed on a bound claim that waits to grow', () => {
    const growing = { isBound: true, explanation: { ...stuckClaim, reason: 'ClassForbidsExpansion' } };
    expect(explain({ claims: [growing] }).reason).toBe('Unschedulable');
    const lost = { isBound: true, explanation: { ...stuckClaim, reason: 'VolumeLost' } };
    expect(explain({ pod: PLACED, containers: [creating], claims: [lost] }).reason).toBe('VolumeLost');
  });
});

test.each([
  [{ key: 'team', operator: 'Equal', value: 'db', effect: 'NoSchedule' }, true],
  [{ key: 'team', operator: 'Exists', value: undefined, effect: undefined }, true],
  [{ key: undefined, operator: 'Exists', value: undefined, effect: undefined }, true],
  [{ key: 'team', operator: undefined, value: 'web', effect: undefined }, false],
  [{ key: 'team', operator: 'Exists', value: undefined, effect: 'NoExecute' }, false],
  [{ key: undefined, operator: undefined, value: undefined, effect: undefined }, false],
])('toleration %j of taint team=db:NoSchedule: %s', (toleration, expected) => {
  expect(tolerates(toleration, { key: 'team', value: 'db', effect: 'NoSchedule' })).toBe(expected);
});
