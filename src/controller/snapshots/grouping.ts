import type { LocalVolume } from '../../api/local-volume.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';
import { GROUP_HANDLE, groupContentNameOf } from '../../core/group-snapshot.ts';
import { keyOf } from '../../kube/resource.ts';
import type { TaskGroup } from '../../runtime/task-group.ts';
import type { WorkQueue } from '../../runtime/work-queue.ts';
import { runInformers } from '../cluster.ts';
import { type ConcernContext, onEach, subscriptions } from '../concern.ts';
import { GroupBinder } from './group-binder.ts';
import { GroupCutter } from './group-cutter.ts';
import { createGroupKinds, GROUP_RESOURCES, type GroupKinds } from './group-kinds.ts';
import { untilServed } from '../served-kinds.ts';
import type { SnapshotKinds } from './kinds.ts';
import { again } from './again.ts';

export interface GroupSnapshots {
  /** Waits until the cluster serves the kinds, and works until the signal aborts; informers run in `tasks`. */
  run(tasks: TaskGroup, signal: AbortSignal): Promise<void>;
  /** The part that is the same for all drivers has changed hands. */
  onTurn(): void;
}

const WORKERS = 2;

/** Takes group snapshots for VolumeGroupSnapshots. */
export function groupSnapshots(
  context: ConcernContext,
  { kinds, isBinding }: { readonly kinds: SnapshotKinds; readonly isBinding: () => boolean },
): GroupSnapshots {
  const groupKinds = createGroupKinds(context.informerDeps);
  const binder = new GroupBinder({ ...context, kinds, groupKinds });
  const cutter = new GroupCutter({ ...context, kinds, groupKinds });
  const groups = context.queue('group-snapshots', WORKERS, async (key, signal) =>
    isBinding() ? await again(() => binder.reconcile(key, signal)) : undefined,
  );
  const contents = context.queue('group-snapshot-contents', WORKERS, async (name, signal) => {
    const bound = isBinding() ? await again(() => binder.reconcileContent(name, signal)) : undefined;
    return bound ?? (await again(() => cutter.reconcile(name, signal)));
  });
  const cuts = context.queue('group-snapshot-cuts', 1, (name, signal) =>
    again(() => cutter.reconcileCut(name, signal)),
  );
  return {
    async run(tasks, signal) {
      await untilServed(GROUP_RESOURCES, 'group snapshots', context, signal);
      await runInformers({ ...groupKinds }, tasks, signal);
      await Promise.all([kinds.snapshots.synced({ signal }), kinds.contents.synced({ signal })]);
      using _subscribed = subscribe(context, { kinds, groupKinds }, { groups, contents, cuts });
      context.logger.info({ groups: groupKinds.groups.store.size }, 'group snapshots are served');
      await Promise.all([groups, contents, cuts].map((queue) => queue.run(signal)));
    },
    onTurn() {
      for (const key of groupKinds.groups.store.keys()) groups.add(key);
      for (const name of groupKinds.groupContents.store.keys()) contents.add(name);
    },
  };
}

type Queues = Readonly<Record<'groups' | 'contents' | 'cuts', WorkQueue<string>>>;

function subscribe(
  { cluster }: ConcernContext,
  { kinds, groupKinds }: { readonly kinds: SnapshotKinds; readonly groupKinds: GroupKinds },
  { groups, contents, cuts }: Queues,
): Disposable {
  const ofGroup = (uid: string): void => {
    contents.add(groupContentNameOf(uid));
    for (const group of groupKinds.groups.store.values()) {
      if (group.metadata?.uid === uid) groups.add(keyOf(group));
    }
  };
  /** Those that wait for claims or a class. */
  const unbound = (namespace?: string): void => {
    for (const group of groupKinds.groups.store.values()) {
      const isHere = namespace === undefined || group.metadata?.namespace === namespace;
      if (isHere && group.status?.boundVolumeGroupSnapshotContentName === undefined) groups.add(keyOf(group));
    }
  };
  return subscriptions(
    onEach(groupKinds.groups, ({ metadata }, key) => {
      groups.add(key);
      contents.add(groupContentNameOf(metadata?.uid ?? ''));
    }),
    onEach(groupKinds.groupContents, ({ spec }, name) => {
      contents.add(name);
      const { namespace = '', name: group = '' } = spec.volumeGroupSnapshotRef;
      groups.add(`${namespace}/${group}`);
      for (const handle of spec.source.volumeHandles ?? []) {
        for (const { metadata, spec: of } of cluster.volumes.store.byIndex('handle', handle)) {
          if (of.group !== undefined) cuts.add(metadata?.name ?? '');
        }
      }
    }),
    onEach(groupKinds.groupClasses, () => unbound()),
    onEach(cluster.claims, ({ metadata }: PersistentVolumeClaim) => unbound(metadata?.namespace)),
    onEach(kinds.snapshots, ({ metadata }) => {
      for (const { kind, uid } of metadata?.ownerReferences ?? []) {
        if (kind === 'VolumeGroupSnapshot') ofGroup(uid);
      }
    }),
    onEach(kinds.contents, ({ metadata }) => {
      const handle = metadata?.annotations?.[GROUP_HANDLE];
      if (handle === undefined) return;
      for (const content of groupKinds.groupContents.store.values()) {
        if (content.status?.volumeGroupSnapshotHandle === handle) contents.add(keyOf(content));
      }
    }),
    onEach(cluster.volumes, ({ spec }: LocalVolume, name) => {
      if (spec.group !== undefined) {
        cuts.add(name);
        ofGroup(spec.claim?.uid ?? '');
        return;
      }
      // A volume that is made from a member holds up the end of its group.
      const restored = cluster.volumes.store.get(spec.source?.snapshotName ?? '');
      if (restored?.spec.group !== undefined) ofGroup(restored.spec.claim?.uid ?? '');
    }),
  );
}
