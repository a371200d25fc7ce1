import type { LocalVolume } from '../../api/local-volume.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';
import { GROUP_HANDLE, groupContentNameOf } from '../../core/snapshots/group-snapshot.ts';
import { CLAIM_FINALIZER } from '../../core/snapshots/snapshot.ts';
import { keyOf } from '../../kube/resource.ts';
import type { TaskGroup } from '../../runtime/task-group.ts';
import type { WorkQueue } from '../../runtime/work-queue.ts';
import { runInformers } from '../context/cluster.ts';
import { type ControllerContext, onEach, subscriptions } from '../context/controller-context.ts';
import { GroupSnapshotBinding } from './group-snapshot-binding.ts';
import { ContentReconciler } from './content-reconciler.ts';
import { GroupContentKind } from './group-content-kind.ts';
import { GROUP_RESOURCES, groupHandlesOf, type GroupKinds } from './group-kinds.ts';
import { untilServed } from '../context/served-kinds.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import type { SourceClaims } from './source-claims.ts';
import { retryStale } from './retry-stale.ts';

export interface GroupSnapshots {
  /**
   * Waits until the cluster serves the kinds, then works until the signal aborts; informers run in
   * `tasks`.
   */
  run(tasks: TaskGroup, signal: AbortSignal): Promise<void>;
  /** Called when the binding part passes to another controller or back. */
  onTurn(): void;
}

export interface GroupSnapshotsOptions {
  readonly kinds: SnapshotKinds;
  readonly groupKinds: GroupKinds;
  readonly claims: SourceClaims;
  readonly isBinding: () => boolean;
  /** Claims whose protection may end. */
  readonly sources: Pick<WorkQueue<string>, 'add'>;
}

const WORKERS = 2;

/** Creates the reconcilers of VolumeGroupSnapshots. */
export function createGroupSnapshotReconcilers(
  context: ControllerContext,
  { kinds, groupKinds, claims, isBinding, sources }: GroupSnapshotsOptions,
): GroupSnapshots {
  const binder = new GroupSnapshotBinding({ ...context, kinds, groupKinds, claims });
  const contentReconciler = new ContentReconciler(
    new GroupContentKind({ ...context, kinds, groupKinds }),
    context,
  );
  const groups = context.queue('group-snapshots', WORKERS, async (key, signal) =>
    isBinding() ? await retryStale(() => binder.reconcile(key, signal)) : undefined,
  );
  const contents = context.queue('group-snapshot-contents', WORKERS, async (name, signal) => {
    const bound = isBinding() ? await retryStale(() => binder.reconcileContent(name, signal)) : undefined;
    return bound ?? (await retryStale(() => contentReconciler.reconcile(name, signal)));
  });
  const nodeSnapshots = context.queue('group-snapshot-cuts', 1, (name, signal) =>
    retryStale(() => contentReconciler.reconcileNodeSnapshot(name, signal)),
  );
  return {
    async run(tasks, signal) {
      await untilServed(GROUP_RESOURCES, 'group snapshots', context, signal);
      await runInformers({ ...groupKinds }, tasks, signal);
      await Promise.all([kinds.snapshots.synced({ signal }), kinds.contents.synced({ signal })]);
      using _subscribed = subscribe(
        context,
        { kinds, groupKinds },
        { groups, contents, nodeSnapshots, sources },
      );
      context.logger.info({ groups: groupKinds.groups.store.size }, 'group snapshots are served');
      await Promise.all([groups, contents, nodeSnapshots].map((queue) => queue.run(signal)));
    },
    onTurn() {
      for (const key of groupKinds.groups.store.keys()) groups.add(key);
      for (const name of groupKinds.groupContents.store.keys()) contents.add(name);
    },
  };
}

type Queues = Readonly<
  Record<'groups' | 'contents' | 'nodeSnapshots' | 'sources', Pick<WorkQueue<string>, 'add'>>
>;

function subscribe(context: ControllerContext, informers: GroupInformers, queues: Queues): Disposable {
  const triggers = createTriggers(informers, queues);
  return subscriptions(
    subscribeToGroups(context, informers, queues, triggers),
    subscribeToMembers(context, informers, queues, triggers),
  );
}

interface GroupInformers {
  readonly kinds: SnapshotKinds;
  readonly groupKinds: GroupKinds;
}

/** Adds the keys of groups that depend on a UID, a namespace or a handle. */
interface GroupTriggers {
  readonly ofGroup: (uid: string) => void;
  /** Groups that wait for claims or a class. */
  readonly unbound: (namespace?: string) => void;
  readonly withHandle: (handle: string | undefined) => void;
}

function createTriggers({ groupKinds }: GroupInformers, { groups, contents }: Queues): GroupTriggers {
  const ofGroup = (uid: string): void => {
    contents.add(groupContentNameOf(uid));
    for (const group of groupKinds.groups.store.values()) {
      if (group.metadata?.uid === uid) groups.add(keyOf(group));
    }
  };
  const unbound = (namespace?: string): void => {
    for (const group of groupKinds.groups.store.values()) {
      const isHere = namespace === undefined || group.metadata?.namespace === namespace;
      if (isHere && group.status?.boundVolumeGroupSnapshotContentName === undefined) groups.add(keyOf(group));
    }
  };
  const withHandle = (handle: string | undefined): void => {
    if (handle === undefined) return;
    for (const content of groupKinds.groupContents.store.byIndex('handle', handle))
      contents.add(keyOf(content));
  };
  return { ofGroup, unbound, withHandle };
}

function subscribeToGroups(
  { cluster }: ControllerContext,
  { groupKinds }: GroupInformers,
  { groups, contents, nodeSnapshots, sources }: Queues,
  { unbound, withHandle }: GroupTriggers,
): Disposable {
  return subscriptions(
    onEach(groupKinds.groups, ({ metadata, spec }, key) => {
      groups.add(key);
      contents.add(spec.source.volumeGroupSnapshotContentName ?? groupContentNameOf(metadata?.uid ?? ''));
      for (const claim of cluster.claims.store.values()) {
        const { namespace, finalizers } = claim.metadata ?? {};
        if (namespace === metadata?.namespace && finalizers?.includes(CLAIM_FINALIZER))
          sources.add(keyOf(claim));
      }
    }),
    onEach(groupKinds.groupContents, (content, name) => {
      const { spec } = content;
      contents.add(name);
      const { namespace = '', name: group = '' } = spec.volumeGroupSnapshotRef;
      groups.add(`${namespace}/${group}`);
      for (const handle of groupHandlesOf(content)) withHandle(handle);
      for (const handle of spec.source.volumeHandles ?? []) {
        for (const { metadata, spec: of } of cluster.volumes.store.byIndex('handle', handle)) {
          if (of.group !== undefined) nodeSnapshots.add(metadata?.name ?? '');
        }
      }
    }),
    onEach(groupKinds.groupClasses, () => unbound()),
    onEach(cluster.claims, ({ metadata }: PersistentVolumeClaim) => unbound(metadata?.namespace)),
  );
}

function subscribeToMembers(
  { cluster }: ControllerContext,
  { kinds }: GroupInformers,
  { nodeSnapshots }: Queues,
  { ofGroup, withHandle }: GroupTriggers,
): Disposable {
  return subscriptions(
    onEach(kinds.snapshots, ({ metadata }) => {
      for (const { kind, uid } of metadata?.ownerReferences ?? []) {
        if (kind === 'VolumeGroupSnapshot') ofGroup(uid);
      }
    }),
    onEach(kinds.contents, (content) => {
      withHandle(content.metadata?.annotations?.[GROUP_HANDLE]);
      for (const handle of handlesOf(content)) {
        for (const { status } of cluster.volumes.store.byIndex('handle', handle))
          withHandle(status?.groupHandle);
      }
    }),
    onEach(cluster.nodes, (_node, name) => {
      for (const { metadata, spec } of cluster.volumes.store.byIndex('node', name)) {
        if (spec.group === undefined) continue;
        nodeSnapshots.add(metadata?.name ?? '');
        ofGroup(spec.claim?.uid ?? '');
      }
    }),
    onEach(cluster.volumes, ({ spec, status }: LocalVolume, name) => {
      if (spec.group !== undefined) {
        nodeSnapshots.add(name);
        withHandle(status?.groupHandle);
        ofGroup(spec.claim?.uid ?? '');
        return;
      }
      // A volume that is being restored from a member delays the deletion of its group.
      const restored = cluster.volumes.store.get(spec.source?.snapshotName ?? '');
      if (restored?.spec.group !== undefined) ofGroup(restored.spec.claim?.uid ?? '');
    }),
  );
}
