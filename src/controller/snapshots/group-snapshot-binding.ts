import {
  GROUP_SNAPSHOT_GROUP,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
  type VolumeGroupSnapshot,
  type VolumeGroupSnapshotContent,
} from '../../api/group-snapshot-kinds.ts';
import type { VolumeSnapshot } from '../../api/snapshot-kinds.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import type { Fault } from '../../core/fault.ts';
import {
  GROUP_BEING_DELETED,
  GROUP_CONTENT_FINALIZER,
  GROUP_FINALIZER,
  type GroupStatus,
  groupContentNameOf,
  IN_GROUP_FINALIZER,
} from '../../core/snapshots/group-snapshot.ts';
import {
  type GroupPlan,
  type GroupState,
  type NewGroupContent,
  planGroup,
  planGroupContentBinding,
} from '../../core/snapshots/group-snapshot-plan.ts';
import { selectsLabels } from '../../core/kube-text/label-selector.ts';
import { findObject, type KubeClient, type Patch } from '../../kube/client.ts';
import type { EventNote, EventRecorder } from '../../kube/event-recorder.ts';
import { type KubeObject, keyOf, nameOfKey } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { restoringFrom } from './snapshot-binding.ts';
import {
  groupClassView,
  groupContentView,
  type GroupKinds,
  groupView,
  memberNamesOf,
} from './group-kinds.ts';
import { makeMember, releaseMember } from './group-members.ts';
import type { SnapshotKinds } from './kinds.ts';
import type { SourceClaims } from './source-claims.ts';
import { snapshotSource } from './views.ts';

export interface GroupSnapshotBindingDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly groupKinds: GroupKinds;
  readonly claims: Pick<SourceClaims, 'protect' | 'isProtected'>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A pending group is reconciled when something it depends on changes, and after this long. */
const WAIT_MS = 60_000;

/**
 * The part of group snapshots that is common to all drivers: from a VolumeGroupSnapshot to its
 * content, to the VolumeSnapshots of the members, and back to its status.
 */
export class GroupSnapshotBinding {
  readonly #deps: GroupSnapshotBindingDeps;

  constructor(deps: GroupSnapshotBindingDeps) {
    this.#deps = deps;
  }

  /**
   * Takes one step for the VolumeGroupSnapshot `key`. The write that it makes triggers the next
   * step.
   */
  async reconcile(key: string, signal: AbortSignal): Promise<WorkResult> {
    const { groups, groupContents } = this.#deps.groupKinds;
    const group = groups.store.get(key);
    if (group === undefined) return undefined;
    const plan = planGroup(this.#stateOf(group, groupContents.store.get(contentKeyOf(group))));
    return await this.#carryOut(group, plan, signal);
  }

  /** Takes one step for the VolumeGroupSnapshotContent `name`. */
  async reconcileContent(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, groupKinds } = this.#deps;
    const content = groupKinds.groupContents.store.get(name);
    if (content === undefined) return undefined;
    const view = groupContentView(content);
    const key = `${view.group.namespace}/${view.group.name}`;
    const known = groupKinds.groups.store.get(key)?.metadata?.uid;
    switch (planGroupContentBinding(view, known)) {
      case 'nothing':
        return undefined;
      case 'add-finalizer': {
        const finalizers = [...(content.metadata?.finalizers ?? []), GROUP_CONTENT_FINALIZER];
        await this.#patchContent(content, { metadata: { finalizers } }, signal);
        return undefined;
      }
      case 'release-content': {
        const live = await findObject(client, VOLUME_GROUP_SNAPSHOTS, nameOfKey(key), { signal });
        if (live?.metadata?.uid === view.group.uid) return { afterMs: 200 };
        await this.#release(content, signal);
        return undefined;
      }
    }
  }

  async #carryOut(group: VolumeGroupSnapshot, plan: GroupPlan, signal: AbortSignal): Promise<WorkResult> {
    switch (plan.do) {
      case 'nothing':
        return undefined;
      case 'wait':
        await this.#writeFault(group, plan.fault, signal);
        this.#recordEvent(group, {
          type: 'Warning',
          reason: 'GroupSnapshotPending',
          note: plan.fault.message,
        });
        return { afterMs: WAIT_MS };
      case 'hold':
        this.#recordEvent(group, {
          type: 'Normal',
          reason: 'SnapshotDeletePending',
          note: plan.fault.message,
        });
        return { afterMs: WAIT_MS };
      case 'set-class':
        await this.#patch(group, { spec: { volumeGroupSnapshotClassName: plan.className } }, signal);
        return undefined;
      case 'add-finalizer': {
        const finalizers = [...(group.metadata?.finalizers ?? []), GROUP_FINALIZER];
        await this.#patch(group, { metadata: { finalizers } }, signal);
        return undefined;
      }
      case 'protect':
        for (const claim of plan.claims) await this.#deps.claims.protect(claim, signal);
        return undefined;
      case 'create-content':
        return await this.#createContent(group, plan.content, signal);
      case 'create-members': {
        const content = this.#deps.groupKinds.groupContents.store.get(contentKeyOf(group));
        if (content === undefined) return { afterMs: 200 };
        for (const member of plan.members) await makeMember({ group, content, member }, this.#deps, signal);
        return undefined;
      }
      case 'report':
        await this.#report(group, plan.status, signal);
        return undefined;
      case 'release-members':
        for (const name of plan.names) await releaseMember(group, name, this.#deps, signal);
        return undefined;
      case 'bind':
      case 'release-content':
      case 'delete-content':
        return await this.#changeContent(group, plan, signal);
      case 'remove-finalizer':
        return await this.#removeFinalizer(group, signal);
    }
  }

  /**
   * Re-reads the group from the API server: a deleted one must not get a content, which would keep
   * data without an owner.
   */
  async #createContent(
    group: VolumeGroupSnapshot,
    wanted: NewGroupContent,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, groupKinds, claims } = this.#deps;
    const live = await this.#live(group, signal);
    if (live === undefined) return { afterMs: 200 };
    const state = this.#stateOf(live, undefined);
    if (planGroup(state).do !== 'create-content') return { afterMs: 200 };
    // Crash window: some claims are protected and there is no content. They are released until a
    // content exists, and protected again then.
    for (const { claim } of state.sources) await claims.protect(claim, signal);
    const { namespace = '', name = '', uid = '' } = live.metadata ?? {};
    const apiVersion = `${GROUP_SNAPSHOT_GROUP}/v1`;
    const content = await client.create(
      VOLUME_GROUP_SNAPSHOT_CONTENTS,
      {
        apiVersion,
        kind: VOLUME_GROUP_SNAPSHOT_CONTENTS.kind,
        metadata: { name: wanted.name, finalizers: [GROUP_CONTENT_FINALIZER] },
        spec: {
          volumeGroupSnapshotRef: { apiVersion, kind: VOLUME_GROUP_SNAPSHOTS.kind, namespace, name, uid },
          driver: DRIVER_NAME,
          deletionPolicy: wanted.deletionPolicy,
          volumeGroupSnapshotClassName: wanted.className,
          source: { volumeHandles: [...wanted.volumeHandles] },
        },
      },
      { signal },
    );
    groupKinds.groupContents.remember(content);
    const note = `creating a group snapshot of ${wanted.volumeHandles.length} volumes`;
    this.#recordEvent(group, { type: 'Normal', reason: 'CreatingGroupSnapshot', note });
    return undefined;
  }

  /**
   * Re-reads both from the API server: a policy that was just set to Retain counts, and so does a
   * new reference.
   */
  async #changeContent(
    group: VolumeGroupSnapshot,
    plan: Extract<GroupPlan, { do: 'bind' | 'release-content' | 'delete-content' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, groupKinds } = this.#deps;
    const name = contentKeyOf(group);
    const live = await this.#live(group, signal);
    const content = await findObject(client, VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, { signal });
    if (live === undefined || content === undefined) return { afterMs: 200 };
    if (planGroup(this.#stateOf(live, content)).do !== plan.do) {
      groupKinds.groupContents.remember(content);
      groupKinds.groups.remember(live);
      return { afterMs: 200 };
    }
    if (plan.do === 'bind') {
      const volumeGroupSnapshotRef = { ...content.spec.volumeGroupSnapshotRef, uid: live.metadata?.uid };
      const spec = { volumeGroupSnapshotRef, volumeGroupSnapshotClassName: plan.className };
      await this.#patchContent(content, { spec }, signal);
    } else if (plan.do === 'release-content') {
      await this.#release(content, signal);
    } else {
      const { uid, resourceVersion } = content.metadata ?? {};
      const precondition = { uid, resourceVersion };
      await client.delete(VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, { precondition, signal });
    }
    return undefined;
  }

  /** Asks the API server for a content that the informer may lack. */
  async #removeFinalizer(group: VolumeGroupSnapshot, signal: AbortSignal): Promise<WorkResult> {
    const { client, groupKinds } = this.#deps;
    const name = contentKeyOf(group);
    const content = await findObject(client, VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, { signal });
    if (planGroup(this.#stateOf(group, content)).do !== 'remove-finalizer') {
      if (content !== undefined) groupKinds.groupContents.remember(content);
      return { afterMs: 200 };
    }
    const finalizers = (group.metadata?.finalizers ?? []).filter((each) => each !== GROUP_FINALIZER);
    await this.#patch(group, { metadata: { finalizers } }, signal);
    return undefined;
  }

  async #report(group: VolumeGroupSnapshot, status: GroupStatus, signal: AbortSignal): Promise<void> {
    const { contentName, isReady, createdMs, error } = status;
    const before = groupView(group).status;
    await this.#patchStatus(
      group,
      {
        boundVolumeGroupSnapshotContentName: contentName,
        readyToUse: isReady,
        creationTime: createdMs === undefined ? undefined : apiTime(new Date(createdMs)),
        error: error === undefined ? null : this.#errorOf(error),
      },
      signal,
    );
    if (!before.isReady && isReady) {
      this.#recordEvent(group, {
        type: 'Normal',
        reason: 'GroupSnapshotReady',
        note: 'its members can be restored',
      });
    }
    if (error !== undefined && error !== before.error) {
      this.#recordEvent(group, { type: 'Warning', reason: 'GroupSnapshotCreationFailed', note: error });
    }
  }

  async #writeFault(group: VolumeGroupSnapshot, { message }: Fault, signal: AbortSignal): Promise<void> {
    const { isReady, error } = groupView(group).status;
    if (error === message && !isReady) return;
    await this.#patchStatus(group, { readyToUse: false, error: this.#errorOf(message) }, signal);
  }

  #errorOf(message: string): { readonly message: string; readonly time: string } {
    return { message, time: apiTime(new Date(this.#deps.clock.nowMs())) };
  }

  async #release(content: VolumeGroupSnapshotContent, signal: AbortSignal): Promise<void> {
    await this.#patchContent(
      content,
      { metadata: { annotations: { [GROUP_BEING_DELETED]: 'yes' } } },
      signal,
    );
  }

  async #patchContent(
    content: VolumeGroupSnapshotContent,
    merge: object,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, groupKinds } = this.#deps;
    const name = { name: content.metadata?.name ?? '' };
    const patch = exactly(content, merge);
    groupKinds.groupContents.remember(
      await client.patch(VOLUME_GROUP_SNAPSHOT_CONTENTS, name, patch, { signal }),
    );
  }

  async #patch(group: VolumeGroupSnapshot, merge: object, signal: AbortSignal): Promise<void> {
    const { client, groupKinds } = this.#deps;
    const name = nameOfKey(keyOf(group));
    const written = await client.patch(VOLUME_GROUP_SNAPSHOTS, name, exactly(group, merge), { signal });
    // Removing the last finalizer of an object that is being deleted deletes the object.
    if (written.metadata?.deletionTimestamp === undefined) groupKinds.groups.remember(written);
  }

  async #patchStatus(group: VolumeGroupSnapshot, status: object, signal: AbortSignal): Promise<void> {
    const { client, groupKinds } = this.#deps;
    const options = { subresource: 'status', signal };
    const patch = exactly(group, { status });
    groupKinds.groups.remember(
      await client.patch(VOLUME_GROUP_SNAPSHOTS, nameOfKey(keyOf(group)), patch, options),
    );
  }

  async #live(group: VolumeGroupSnapshot, signal: AbortSignal): Promise<VolumeGroupSnapshot | undefined> {
    const live = await findObject(this.#deps.client, VOLUME_GROUP_SNAPSHOTS, nameOfKey(keyOf(group)), {
      signal,
    });
    return live?.metadata?.uid === group.metadata?.uid ? live : undefined;
  }

  #stateOf(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | undefined): GroupState {
    const { cluster, kinds, groupKinds, claims } = this.#deps;
    const view = groupView(group);
    const { selector } = group.spec.source;
    const bound = content && groupContentView(content);
    const selected = [...cluster.claims.store.values()].filter(
      ({ metadata }) =>
        selector !== undefined &&
        metadata?.namespace === view.namespace &&
        selectsLabels(selector, metadata.labels ?? {}),
    );
    const owned: readonly VolumeSnapshot[] = kinds.snapshots.store.byIndex('group', view.uid);
    return {
      group: view,
      content: bound,
      sources: selected
        .map(keyOf)
        .sort()
        .map((claim) => ({
          claim,
          isProtected: claims.isProtected(claim),
          source: snapshotSource(claim, cluster),
        })),
      classes: [...groupKinds.groupClasses.store.values()].map(groupClassView),
      members: (bound?.status.members ?? []).map((member) => {
        const names = memberNamesOf(view.uid, member.volumeHandle);
        const made = kinds.snapshots.store.get(`${view.namespace}/${names.snapshot}`);
        const own = kinds.contents.store.get(names.content);
        return {
          member,
          isMade: made?.status?.boundVolumeSnapshotContentName === names.content,
          restoring: own === undefined ? [] : restoringFrom(own, cluster),
        };
      }),
      held: owned.flatMap(({ metadata }) => {
        const isHeld = metadata?.finalizers?.includes(IN_GROUP_FINALIZER) === true;
        return isHeld || metadata?.deletionTimestamp === undefined ? [metadata?.name ?? ''] : [];
      }),
    };
  }

  #recordEvent(group: VolumeGroupSnapshot, note: Omit<EventNote, 'action'>): void {
    const { events, logger } = this.#deps;
    if (note.type === 'Warning')
      logger.info({ group: keyOf(group), reason: note.note }, 'group snapshot is pending');
    events.record(VOLUME_GROUP_SNAPSHOTS, group, { ...note, action: 'Snapshot' });
  }
}

function contentKeyOf({ metadata, spec }: VolumeGroupSnapshot): string {
  return spec.source.volumeGroupSnapshotContentName ?? groupContentNameOf(metadata?.uid ?? '');
}

/** Restricts a write to the version of the object that the plan was made from. */
function exactly({ metadata }: KubeObject, merge: object): Patch {
  return { merge, precondition: { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion } };
}
