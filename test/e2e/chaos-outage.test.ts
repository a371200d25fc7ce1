import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RELEASE } from '../../src/controller/volumes/lost-node-volumes.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { listProcesses } from '../../src/demo/processes.ts';
import { sleep } from '../../src/runtime/clock.ts';
import { endProcess } from '../../src/runtime/child-process.ts';
import { agentOf } from '../cluster/keelson-pods.ts';
import { NAMESPACE, untilAgentServes } from '../cluster/shipped.ts';
import { waitFor } from '../cluster/wait.ts';
import { type ClaimsLab, claimOf, podOf, startClaimsLab } from './claims-lab.ts';

const MINUTES = 60_000;
/** `KEELSON_CHAOS=full` is without an API server for as long as the list of proofs asks for. */
const OUTAGE_MS = process.env['KEELSON_CHAOS'] === 'full' ? 10 * MINUTES : 40_000;
/** Within this time everything has recovered, once the API server is ready. */
const CONVERGES_WITHIN_MS = 3 * MINUTES;
const NODES = ['node-1', 'node-2'] as const;
const AT_ONCE = { storageClassName: 'keelson-immediate' };

/** Writes the next number each 0.1 s. */
const WRITE = 'n=0; while :; do n=$((n + 1)); echo $n >>/data/log || exit 1; sleep 0.1; done';
/** Terminates long after its request, so that all of its removal is in the outage. */
const LINGER = 'trap "" TERM; while :; do sleep 1; done';

interface Item {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly finalizers?: readonly string[];
  };
  readonly spec?: {
    readonly volumeName?: string;
    readonly holderIdentity?: string;
    readonly leaseTransitions?: number;
    readonly taints?: readonly { readonly key: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

/**
 * Ten minutes without an API server, on what ships: workloads go on, nothing unrequested happens,
 * and afterwards everything requested is done.
 */
describe(`${OUTAGE_MS / 1_000} s without an API server`, { timeout: OUTAGE_MS + 15 * MINUTES }, () => {
  let lab: ClaimsLab;

  beforeAll(async () => {
    lab = await startClaimsLab({ poolSize: '4Gi' });
  }, 15 * MINUTES);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 2 * MINUTES);

  const list = async (kinds: string, ...args: readonly string[]): Promise<readonly Item[]> =>
    (await lab.kubectl.get<{ items: readonly Item[] }>([kinds, ...args])).items;
  const onDisk = async (): Promise<readonly string[]> =>
    (await Promise.all(NODES.map((node) => lab.onDisk(node)))).flat().sort();
  const controllers = async (): Promise<readonly Item[]> =>
    await list('pods', '--namespace', NAMESPACE, '--selector', 'app.kubernetes.io/component=controller');
  const lease = async (): Promise<Item> =>
    await lab.kubectl.get<Item>(['lease/keelson-controller', '--namespace', NAMESPACE]);
  /** What must not change without a request. */
  const desired = async (names: ReadonlySet<string>): Promise<readonly object[]> =>
    (await list('pvc,pv,localvolumes,nodes,nodeinventories'))
      .filter(({ kind, metadata }) => kind.startsWith('Node') || names.has(metadata.name))
      .map(({ kind, metadata: { name, uid, generation, labels, finalizers }, spec }) => ({
        ...{ kind, name, uid, labels, finalizers },
        // That of a Node counts its taints, which Kubernetes sets while kubelets cannot be heard.
        ...(kind === 'Node' ? {} : { generation }),
        taints: spec?.taints?.map(({ key }) => key).filter((key) => !key.startsWith('node.kubernetes.io/')),
      }));

  test('pods keep running, no volume is lost, changed or released, and afterwards each claim has one volume', async () => {
    const numbered = (name: string, count: number): string[] =>
      Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
    const [kept, going, late] = [numbered('kept', 6), numbered('going', 5), numbered('late', 6)];
    const writers = numbered('writer', 2);
    const leavers = numbered('leaver', 2);
    const onNode = (index: number): object => ({
      nodeSelector: { 'kubernetes.io/hostname': NODES[index] ?? '' },
    });
    await lab.apply(
      ...[...kept, ...going].map((name) => claimOf(name, '16Mi', AT_ONCE)),
      ...[...writers, ...leavers].map((name) => claimOf(name)),
      ...writers.map((name, index) => busyPod(name, WRITE, onNode(index))),
      ...leavers.map((name, index) =>
        busyPod(name, LINGER, { ...onNode(index), terminationGracePeriodSeconds: 15 }),
      ),
    );
    for (const name of [...writers, ...leavers]) await lab.untilReady(name);
    await lab.expectOneEach([...kept, ...going, ...writers, ...leavers]);

    const pods = new Map((await list('pods')).map(({ metadata }) => [metadata.name, metadata.uid]));
    const volumeOf = new Map(
      (await list('pvc')).map(({ metadata, spec }) => [metadata.name, spec?.volumeName ?? '']),
    );
    const volumesOf = (...claims: readonly string[]): string[] =>
      claims.map((name) => volumeOf.get(name) ?? '').sort();
    const stable = volumesOf(...kept, ...writers, ...leavers);
    const names = new Set([...kept, ...writers, ...leavers, ...stable]);
    const before = { desired: await desired(names), lease: await lease() };
    const standby = (await controllers()).find(
      ({ metadata }) => !before.lease.spec?.holderIdentity?.startsWith(metadata.name),
    );
    const logOf = (writer: string, index: number): (() => Promise<readonly string[]>) => {
      const volume = `/var/lib/kubelet/pods/${pods.get(writer) ?? ''}/volumes/kubernetes.io~csi/${volumeOf.get(writer) ?? ''}`;
      return async () => {
        const { stdout } = await lab.cluster.machine(NODES[index] ?? '').run('cat', [`${volume}/mount/log`]);
        return stdout.trim().split('\n');
      };
    };
    const logs = writers.map(logOf);

    const { programs } = await lab.cluster.controlPlane();
    const asked = lab.kubectl.run(['delete', 'pod', ...leavers, '--wait=false']);
    await Promise.all([asked, lab.apply(...late.map((name) => claimOf(name, '16Mi', AT_ONCE)))]);
    await lab.remove(...going.map((name) => `pvc/${name}`));
    await programs.stopApiServer();
    const endsAtMs = performance.now() + OUTAGE_MS;
    const seen = new Set<string>();
    const watch = async (untilMs: number): Promise<void> => {
      do {
        const found = await onDisk();
        expect(found).toEqual(expect.arrayContaining(stable));
        for (const name of found) seen.add(name);
        await sleep(Math.min(2_000, Math.max(0, untilMs - performance.now())));
      } while (performance.now() < untilMs);
    };
    try {
      await watch(endsAtMs - (3 / 4) * OUTAGE_MS);
      for (const name of NODES) {
        const machine = lab.cluster.machine(name);
        const agent = await machine.findDaemon(agentOf(name));
        if (agent === undefined) throw new Error(`${name} has no agent`);
        await endProcess(agent.pid, { graceMs: 0 });
        await untilAgentServes({ name, machine });
      }
      await watch(endsAtMs - OUTAGE_MS / 2);
      for (const { pid, args, cgroups } of await listProcesses()) {
        const isStandby = cgroups.some((path) => path.includes(standby?.metadata.uid ?? 'none'));
        if (isStandby && args.includes('controller')) await endProcess(pid, { graceMs: 0 });
      }
      const written = await Promise.all(logs.map((read) => read()));
      await watch(endsAtMs);
      for (const [index, read] of logs.entries()) {
        expect((await read()).length).toBeGreaterThan(written[index]?.length ?? 0);
      }
      // kubelet has ended them, and had their volumes unpublished, by itself.
      for (const [index, leaver] of leavers.entries()) {
        const { stdout } = await lab.cluster.machine(NODES[index] ?? '').run('cat', ['/proc/mounts']);
        expect(stdout).not.toContain(pods.get(leaver));
      }
    } finally {
      await programs.ensureApiServer();
    }

    const readyAtMs = performance.now();
    const claims = [...kept, ...late, ...writers, ...leavers];
    await lab.expectOneEach(claims, CONVERGES_WITHIN_MS);
    const seconds = (ms: number): string => `${((ms - readyAtMs) / 1_000).toFixed(1)} s`;
    const bound = seconds(performance.now());
    await lab.kubectl.wait('node/node-1', 'condition=Ready');
    await lab.kubectl.wait('node/node-2', 'condition=Ready');
    await waitFor(
      'the deleted pods are removed',
      async () => {
        const left = (await list('pods')).map(({ metadata }) => metadata.name).sort();
        return left.join() === writers.join() ? true : undefined;
      },
      { timeoutMs: CONVERGES_WITHIN_MS, everyMs: 500 },
    );
    await lab.eventually('nothing is other than before', async () => {
      expect(await desired(names)).toEqual(before.desired);
    });
    const asBefore = seconds(performance.now());
    // Who led could not renew its lease, and has ended: the next one leads once that has run out.
    const leader = await waitFor(
      'a controller leads',
      async () => {
        const { holderIdentity = '' } = (await lease()).spec ?? {};
        return holderIdentity === before.lease.spec?.holderIdentity ? undefined : holderIdentity;
      },
      { timeoutMs: CONVERGES_WITHIN_MS, everyMs: 500 },
    );
    expect((await controllers()).map(({ metadata }) => metadata.name)).toContain(leader.split('_')[0]);
    console.log(
      `${OUTAGE_MS / 1_000} s without an API server; since its return: ${claims.length} claims with a volume each ${bound}, all as before ${asBefore}, a controller leads ${seconds(performance.now())}`,
    );
    // What was asked for before may have been finished meanwhile, and nothing else was done.
    const lateVolumes = (await list('pvc'))
      .filter(({ metadata }) => late.includes(metadata.name))
      .map(({ spec }) => spec?.volumeName ?? '');
    const may = new Set([...stable, ...volumesOf(...going), ...lateVolumes]);
    expect([...seen].filter((name) => !may.has(name))).toEqual([]);

    const volumes = await list('localvolumes');
    expect(volumes.filter(({ metadata }) => metadata.annotations?.[RELEASE] !== undefined)).toEqual([]);
    const reasons = await lab.kubectl.run(['get', 'events', '--output=jsonpath={.items[*].reason}']);
    expect(reasons).not.toMatch(/NodeLost|VolumeLost|Released/);
    for (const { metadata, status } of await list('pods')) {
      expect(status?.containerStatuses, metadata.name).toMatchObject([{ restartCount: 0 }]);
    }
    for (const read of logs) {
      const lines = (await read()).slice(0, -1);
      expect(lines).toEqual(lines.map((_, index) => String(index + 1)));
    }

    await lab.apply(claimOf('after'), podOf('after', ['after']));
    await lab.untilReady('after');
    await lab.remove(...[...writers, 'after'].map((name) => `pod/${name}`));
    await lab.remove(...[...claims, 'after'].map((name) => `pvc/${name}`));
    await lab.expectNothingLeft();
    expect((await lease()).spec?.holderIdentity).toBe(leader);
  });
});

function busyPod(name: string, script: string, fields: object): object {
  return podOf(name, [name], {
    containers: [
      {
        name: 'main',
        image: BUSYBOX_IMAGE,
        command: ['sh', '-c', script],
        volumeMounts: [{ name: 'v0', mountPath: '/data' }],
      },
    ],
    ...fields,
  });
}
