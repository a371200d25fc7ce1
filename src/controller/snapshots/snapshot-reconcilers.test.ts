import { expect, test } from 'vitest';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../../test/fakes/fake-clock.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
} from '../../api/group-snapshot-kinds.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
} from '../../api/snapshot-kinds.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES } from '../../kube/built-in.ts';
import { Fault } from '../../core/fault.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import { sleep } from '../../runtime/clock.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { TaskGroup } from '../../runtime/task-group.ts';
import { WorkQueue } from '../../runtime/work-queue.ts';
import { createCluster, runInformers } from '../context/cluster.ts';
import type { ControllerContext } from '../context/controller-context.ts';
import { createSnapshotKinds } from './kinds.ts';
import { createSnapshotReconcilers } from './snapshot-reconcilers.ts';

const DATA_FINALIZER = 'keelson.dev/data';
const CLAIMS = ['a', 'b'];
/** What any one message takes at most. */
const LATE_MS = 300;
/** The share of messages that get lost. */
const LOST = 0.02;
/**
 * All of a story, message after message. What was not woken looks again after a minute, and is not
 * done by then.
 */
const PATIENCE_MS = 40_000;

type Random = () => number;

/**
 * Numbers that look random, and are the same for the same seed: a linear congruential generator,
 * whose upper bits count.
 */
function randomOf(seed: number): Random {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * A server whose requests, answers and events each take their time, and overtake each other where
 * they are of different streams. Some requests are lost, some answers, and streams break.
 */
function lateClient(server: FakeApiClient, clock: FakeClock, random: Random): KubeClient {
  const travel = async (): Promise<void> => {
    await sleep(random() * LATE_MS, { clock });
    if (random() < LOST) throw new Fault('unavailable', 'the connection broke');
  };
  const late = async <R>(work: () => Promise<R>): Promise<R> => {
    await travel();
    const answer = await work().then(
      (value) => () => value,
      (error: unknown) => () => {
        throw error;
      },
    );
    await travel();
    return answer();
  };
  return {
    get: (resource, name) => late(() => server.get(resource, name)),
    list: (...args) => late(() => server.list(...args)),
    create: (...args) => late(() => server.create(...args)),
    update: (resource, object, options) => late(() => server.update(resource, object, options)),
    patch: (...args) => late(() => server.patch(...args)),
    delete: (...args) => late(() => server.delete(...args)),
    async *watch(resource, options) {
      for await (const event of server.watch(resource, options)) {
        await travel();
        yield event;
      }
    },
  };
}

async function prepare(server: FakeApiClient): Promise<void> {
  await server.create(NODES, { metadata: { name: 'n1' } });
  for (const name of CLAIMS) {
    const claim = await server.create(PERSISTENT_VOLUME_CLAIMS, {
      metadata: { namespace: 'team', name, labels: { app: 'db' } },
      spec: { volumeName: `pvc-${name}`, storageClassName: 'local' },
    });
    const merge = { status: { phase: 'Bound' } };
    const at = { namespace: 'team', name };
    await server.patch(PERSISTENT_VOLUME_CLAIMS, at, { merge }, { subresource: 'status' });
    await server.create(PERSISTENT_VOLUMES, {
      metadata: { name: `pvc-${name}` },
      spec: {
        claimRef: { ...at, uid: claim.metadata?.uid ?? '' },
        csi: { driver: 'keelson.dev', volumeHandle: `vol-${name}` },
      },
    });
    await server.create(LOCAL_VOLUMES, {
      metadata: { name: `pvc-${name}` },
      spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
      status: { phase: 'Ready', volumeHandle: `vol-${name}`, capacity: '1Gi' },
    });
  }
  const of = { driver: 'keelson.dev', deletionPolicy: 'Delete' } as const;
  await server.create(VOLUME_SNAPSHOT_CLASSES, { metadata: { name: 'local' }, ...of });
  await server.create(VOLUME_GROUP_SNAPSHOT_CLASSES, { metadata: { name: 'local' }, ...of });
}

/**
 * An agent that takes what is asked for, makes volumes of snapshots, and removes what is to go,
 * each in its own time.
 */
async function runAgent(
  server: FakeApiClient,
  clock: FakeClock,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  const see = async ({ metadata, spec, status }: LocalVolume): Promise<void> => {
    const { name = '', uid = '', finalizers = [], deletionTimestamp } = metadata ?? {};
    if (deletionTimestamp !== undefined) {
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
    } else if (finalizers.length === 0) {
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [DATA_FINALIZER] } } });
    } else if (status?.phase === undefined) {
      const made = {
        phase: 'Ready',
        volumeHandle: `${spec.type === 'Snapshot' ? 'snap' : 'vol'}-${uid}`,
        ...(spec.group === undefined ? {} : { groupHandle: spec.group.name }),
        capacity: '1Gi',
        creationTime: '2026-01-01T00:00:00Z',
      };
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { status: made } }, { subresource: 'status' });
    }
  };
  while (!signal.aborted) {
    await sleep(random() * LATE_MS, { clock });
    const { items } = await server.list(LOCAL_VOLUMES);
    const todo = items.filter(
      ({ metadata, status }) =>
        metadata?.deletionTimestamp !== undefined ||
        !metadata?.finalizers?.length ||
        status?.phase === undefined,
    );
    const next = todo[Math.floor(random() * todo.length)];
    if (next !== undefined && !next.metadata?.name?.startsWith('pvc-')) await see(next);
  }
}

/** The controller's part, with its queues, from the first list on. */
async function runSnapshotting(client: KubeClient, clock: FakeClock, signal: AbortSignal): Promise<void> {
  const informerDeps = { client, logger: silentLogger, clock };
  const cluster = createCluster(informerDeps);
  const tasks = new TaskGroup({ logger: silentLogger });
  signal.addEventListener('abort', () => tasks.stop(), { once: true });
  await runInformers({ ...cluster }, tasks, signal);
  const context = {
    ...{ client, clock, cluster, informerDeps, logger: silentLogger },
    events: { record: () => undefined },
    queue: (name: string, workers: number, work: ConstructorParameters<typeof WorkQueue<string>>[1]) =>
      new WorkQueue({ name, workers, backoff: { baseMs: 250, maxMs: 300_000 } }, work, informerDeps),
  } as unknown as ControllerContext;
  const kinds = createSnapshotKinds(informerDeps);
  await createSnapshotReconcilers(context, { mode: 'all', kinds }).queue.run(signal);
}

const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1);

test.each(SEEDS)('nothing waits for a retry, whatever message is late (%i)', async (seed) => {
  const server = new FakeApiClient();
  const clock = new FakeClock();
  const random = randomOf(seed);
  const client = lateClient(server, clock, random);
  await prepare(server);
  await server.create(STORAGE_CLASSES, { metadata: { name: 'local' }, provisioner: 'keelson.dev' });
  const life = new AbortController();
  const running = runSnapshotting(client, clock, life.signal);
  const agent = runAgent(server, clock, random, life.signal);
  const soon = (): Promise<void> => clock.advance(random() * 3_000);
  const until = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
    const deadlineMs = clock.nowMs() + PATIENCE_MS;
    while (!(await isSo())) {
      expect(clock.nowMs(), what).toBeLessThan(deadlineMs);
      await clock.advance(500);
    }
  };
  await clock.advance(5_000);

  const names = ['s1', 's2', 's3', 's4'];
  for (const [index, name] of names.entries()) {
    await server.create(VOLUME_SNAPSHOTS, {
      metadata: { namespace: 'team', name },
      spec: { volumeSnapshotClassName: 'local', source: { persistentVolumeClaimName: CLAIMS[index % 2] } },
    });
    await soon();
  }
  await server.create(VOLUME_GROUP_SNAPSHOTS, {
    metadata: { namespace: 'team', name: 'together' },
    spec: { volumeGroupSnapshotClassName: 'local', source: { selector: { matchLabels: { app: 'db' } } } },
  });
  const isReady = async (): Promise<boolean> => {
    const all = [
      ...(await server.list(VOLUME_SNAPSHOTS)).items,
      ...(await server.list(VOLUME_GROUP_SNAPSHOTS)).items,
    ];
    return (
      all.length === names.length + 1 + CLAIMS.length &&
      all.every(({ status }) => status?.readyToUse === true)
    );
  };
  await until('all are ready', isReady);

  // A volume is restored from each while its deletion is requested; some are released.
  const snapshots = (await server.list(VOLUME_SNAPSHOTS)).items;
  const nodeSnapshots = (await server.list(LOCAL_VOLUMES)).items.filter(
    ({ spec }) => spec.type === 'Snapshot',
  );
  for (const { metadata } of nodeSnapshots) {
    await server.create(LOCAL_VOLUMES, {
      metadata: { name: `restored-${metadata?.name ?? ''}`, finalizers: [DATA_FINALIZER] },
      spec: {
        ...{ nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
        source: { snapshotName: metadata?.name ?? '' },
      },
    });
    if (random() < 0.3) await server.delete(LOCAL_VOLUMES, { name: `restored-${metadata?.name ?? ''}` });
  }
  for (const { metadata } of snapshots) {
    await server.delete(VOLUME_SNAPSHOTS, { namespace: 'team', name: metadata?.name ?? '' });
    if (random() < 0.5) await soon();
  }
  await server.delete(VOLUME_GROUP_SNAPSHOTS, { namespace: 'team', name: 'together' });
  const kinds: readonly Resource<KubeObject>[] = [
    VOLUME_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
  ];
  const left = async (): Promise<readonly string[]> => {
    const objects = (await Promise.all(kinds.map((kind) => server.list(kind)))).flatMap(({ items }) => items);
    const volumes = (await server.list(LOCAL_VOLUMES)).items.filter(({ spec }) => spec.type === 'Snapshot');
    const claims = (await server.list(PERSISTENT_VOLUME_CLAIMS)).items.flatMap(
      ({ metadata }) => metadata?.finalizers ?? [],
    );
    return [...[...objects, ...volumes].map(({ metadata }) => metadata?.name ?? ''), ...claims];
  };
  await until('all are deleted', async () => (await left()).length === 0);
  life.abort(new DOMException('done', 'AbortError'));
  await clock.advance(10_000);
  await Promise.allSettled([running, agent]);
});
