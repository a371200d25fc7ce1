import type { LocalVolume } from '../../api/local-volume.ts';
import type { VolumeSnapshot } from '../../api/snapshot-kinds.ts';
import { nodeSnapshotNameOf } from '../../core/snapshots/snapshot.ts';
import { keyOf } from '../../kube/resource.ts';
import type { WorkQueue } from '../../runtime/work-queue.ts';
import {
  type Reconciler,
  type ControllerContext,
  reconcilerOfTasks,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { retryStale } from './retry-stale.ts';
import { SnapshotBinding } from './snapshot-binding.ts';
import { ContentReconciler } from './content-reconciler.ts';
import { SnapshotContentKind } from './snapshot-content-kind.ts';
import { createGroupKinds } from './group-kinds.ts';
import { createGroupSnapshotReconcilers } from './group-snapshot-reconcilers.ts';
import { handlesOf, runSnapshotKinds, type SnapshotKinds } from './kinds.ts';
import { SourceClaims } from './source-claims.ts';
import { StandardController } from './standard-controller.ts';

/**
 * Which part of snapshots Keelson does: `driver` the driver's part, where another controller does
 * the binding; `all` both; `auto` both where no snapshot-controller is active.
 */
export const SNAPSHOT_MODES = ['auto', 'all', 'driver', 'off'] as const;
export type SnapshotMode = (typeof SNAPSHOT_MODES)[number];

export interface SnapshotReconcilersOptions {
  readonly mode: SnapshotMode;
  readonly kinds: SnapshotKinds;
}

const WORKERS = 4;

/**
 * Creates the reconcilers of VolumeSnapshots. They wait until the cluster serves the kinds, without
 * delaying the others.
 */
export function createSnapshotReconcilers(
  context: ControllerContext,
  { mode, kinds }: SnapshotReconcilersOptions,
): Reconciler {
  if (mode === 'off') return { queue: { run: async () => undefined }, subscribe: () => subscriptions() };
  const { client, cluster } = context;
  const standard = new StandardController(context.informerDeps);
  const groupKinds = createGroupKinds(context.informerDeps);
  const claims = new SourceClaims({ client, cluster, kinds, groupKinds });
  const binder = new SnapshotBinding({ ...context, kinds, claims });
  const contentReconciler = new ContentReconciler(
    new SnapshotContentKind({ client, cluster, kinds }),
    context,
  );
  const isBinding = (): boolean => mode === 'all' || (mode === 'auto' && !standard.isActive);

  const snapshots = context.queue('snapshots', WORKERS, async (key, signal) =>
    isBinding() ? await retryStale(() => binder.reconcile(key, signal)) : undefined,
  );
  const contents = context.queue('snapshot-contents', WORKERS, async (name, signal) => {
    const bound = isBinding() ? await retryStale(() => binder.reconcileContent(name, signal)) : undefined;
    return bound ?? (await retryStale(() => contentReconciler.reconcile(name, signal)));
  });
  const nodeSnapshots = context.queue('snapshot-cuts', 1, (name, signal) =>
    retryStale(() => contentReconciler.reconcileNodeSnapshot(name, signal)),
  );
  const sources = context.queue('snapshot-sources', 1, async (key, signal) =>
    isBinding() ? await retryStale(() => claims.release(key, signal)) : undefined,
  );
  const groups = createGroupSnapshotReconcilers(context, { kinds, groupKinds, claims, isBinding, sources });
  standard.onTurn(() => {
    groups.onTurn();
    for (const key of kinds.snapshots.store.keys()) snapshots.add(key);
    for (const name of kinds.contents.store.keys()) contents.add(name);
    for (const key of cluster.claims.store.keys()) sources.add(key);
  });
  return reconcilerOfTasks(context, (tasks) => {
    if (mode === 'auto') tasks.run('informer leases', (signal) => standard.run(signal));
    tasks.run('snapshots', async (signal) => {
      await runSnapshotKinds(kinds, tasks, context, signal);
      if (mode === 'auto') await standard.synced({ signal });
      using _subscribed = subscribe(context, kinds, { snapshots, contents, nodeSnapshots, sources });
      context.logger.info({ snapshots: kinds.snapshots.store.size }, 'snapshots are served');
      await Promise.all([snapshots, contents, nodeSnapshots, sources].map((queue) => queue.run(signal)));
    });
    tasks.run('group snapshots', async (signal) => {
      if (mode === 'auto') await standard.synced({ signal });
      await groups.run(tasks, signal);
    });
  });
}

type Queues = Readonly<Record<'snapshots' | 'contents' | 'nodeSnapshots' | 'sources', WorkQueue<string>>>;

function subscribe({ cluster }: ControllerContext, kinds: SnapshotKinds, queues: Queues): Disposable {
  const { snapshots, contents, nodeSnapshots, sources } = queues;
  const { store } = kinds.contents;
  const addSnapshotsOf = (claim: string): void => {
    for (const snapshot of kinds.snapshots.store.byIndex('claim', claim)) snapshots.add(keyOf(snapshot));
  };
  const addContents = (index: 'nodeSnapshot' | 'handle' | 'volume', value: string | undefined): void => {
    for (const content of value === undefined ? [] : store.byIndex(index, value)) {
      contents.add(keyOf(content));
      const { namespace = '', name = '' } = content.spec.volumeSnapshotRef;
      // A volume that is being restored from it delays its deletion.
      snapshots.add(`${namespace}/${name}`);
    }
  };
  const addSnapshotSource = ({ metadata, spec }: VolumeSnapshot): void => {
    const claim = spec.source.persistentVolumeClaimName;
    if (claim !== undefined) sources.add(`${metadata?.namespace ?? ''}/${claim}`);
  };
  return subscriptions(
    onEach(kinds.snapshots, (snapshot, key) => {
      snapshots.add(key);
      addSnapshotSource(snapshot);
      for (const content of store.byIndex('snapshot', key)) contents.add(keyOf(content));
    }),
    onEach(kinds.contents, (content, name) => {
      contents.add(name);
      const { volumeSnapshotRef } = content.spec;
      snapshots.add(`${volumeSnapshotRef.namespace ?? ''}/${volumeSnapshotRef.name ?? ''}`);
      nodeSnapshots.add(nodeSnapshotNameOf(volumeSnapshotRef.uid ?? ''));
      for (const snapshot of kinds.snapshots.store.byIndex('content', name)) snapshots.add(keyOf(snapshot));
      for (const handle of handlesOf(content)) addContents('handle', handle);
    }),
    onEach(kinds.classes, () => {
      for (const snapshot of kinds.snapshots.store.values()) {
        if (snapshot.status?.boundVolumeSnapshotContentName === undefined) snapshots.add(keyOf(snapshot));
      }
    }),
    subscribeToCluster(cluster, queues, { addSnapshotsOf, addContents }),
  );
}

/** Adds keys of snapshots and contents by an index. */
interface SnapshotTriggers {
  readonly addSnapshotsOf: (claim: string) => void;
  readonly addContents: (index: 'nodeSnapshot' | 'handle' | 'volume', value: string | undefined) => void;
}

function subscribeToCluster(
  cluster: ControllerContext['cluster'],
  { nodeSnapshots, sources }: Pick<Queues, 'nodeSnapshots' | 'sources'>,
  { addSnapshotsOf, addContents }: SnapshotTriggers,
): Disposable {
  return subscriptions(
    onEach(cluster.claims, (_claim, key) => {
      addSnapshotsOf(key);
      sources.add(key);
    }),
    onEach(cluster.owners, ({ spec }) => {
      const { namespace = '', name = '' } = spec?.claimRef ?? {};
      addSnapshotsOf(`${namespace}/${name}`);
    }),
    onEach(cluster.volumes, (volume: LocalVolume, name) => {
      addContents('handle', volume.status?.volumeHandle);
      if (volume.spec.type === 'Snapshot') {
        nodeSnapshots.add(name);
        addContents('nodeSnapshot', name);
      } else {
        addContents('volume', volume.status?.volumeHandle);
        const restored = cluster.volumes.store.get(volume.spec.source?.snapshotName ?? '');
        addContents('handle', restored?.status?.volumeHandle);
      }
    }),
    onEach(cluster.nodes, (_node, name) => {
      for (const { metadata, spec } of cluster.volumes.store.byIndex('node', name)) {
        if (spec.type !== 'Snapshot') continue;
        nodeSnapshots.add(metadata?.name ?? '');
        addContents('nodeSnapshot', metadata?.name);
      }
    }),
  );
}
