import type { EventReason } from '../../core/reasons/event-reasons.ts';
import {
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
  type VolumeSnapshot,
  type VolumeSnapshotContent,
} from '../../api/snapshot-kinds.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import type { Fault } from '../../core/fault.ts';
import { exactQuantity } from '../../core/kube-text/exact-quantity.ts';
import {
  BEING_DELETED,
  CONTENT_FINALIZER,
  contentNameOf,
  SNAPSHOT_FINALIZERS,
  type SnapshotStatus,
} from '../../core/snapshots/snapshot.ts';
import {
  type NewContent,
  planContentBinding,
  planSnapshot,
  type SnapshotPlan,
  type SnapshotState,
} from '../../core/snapshots/snapshot-plan.ts';
import { findObject, type KubeClient, type Patch } from '../../kube/client.ts';
import type { EventNote, EventRecorder } from '../../kube/event-recorder.ts';
import { keyOf, nameOfKey } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import type { SourceClaims } from './source-claims.ts';
import { contentView, groupUidsOf, snapshotClassView, snapshotSource, snapshotView } from './views.ts';

export interface SnapshotBindingDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly claims: Pick<SourceClaims, 'protect'>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A pending snapshot is reconciled when something it depends on changes, and after this long. */
const WAIT_MS = 60_000;

/**
 * The part of snapshots that is common to all drivers: from a VolumeSnapshot to its
 * VolumeSnapshotContent and back to its status. A cluster has one controller for it, usually
 * snapshot-controller; Keelson does it where there is none.
 */
export class SnapshotBinding {
  readonly #deps: SnapshotBindingDeps;

  constructor(deps: SnapshotBindingDeps) {
    this.#deps = deps;
  }

  /**
   * Takes one step for the VolumeSnapshot `key`. The write that it makes triggers the next step.
   */
  async reconcile(key: string, signal: AbortSignal): Promise<WorkResult> {
    const snapshot = this.#deps.kinds.snapshots.store.get(key);
    if (snapshot === undefined) return undefined;
    const plan = planSnapshot(this.#stateOf(snapshot, this.#contentOf(snapshot)));
    return await this.#carryOut(snapshot, plan, signal);
  }

  /** Takes one step for the VolumeSnapshotContent `name`. */
  async reconcileContent(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, kinds, events } = this.#deps;
    const content = kinds.contents.store.get(name);
    if (content === undefined) return undefined;
    const view = contentView(content);
    const { namespace, name: snapshotName } = view.snapshot;
    const known = kinds.snapshots.store.get(`${namespace}/${snapshotName}`);
    switch (planContentBinding(view, known && snapshotView(known)).do) {
      case 'nothing':
        return undefined;
      case 'add-finalizer': {
        const finalizers = [...(content.metadata?.finalizers ?? []), CONTENT_FINALIZER];
        await this.#patchContent(content, { metadata: { finalizers } }, signal);
        return undefined;
      }
      case 'release-content': {
        const live = await findObject(
          client,
          VOLUME_SNAPSHOTS,
          { namespace, name: snapshotName },
          { signal },
        );
        if (live?.metadata?.uid === view.snapshot.uid) {
          kinds.snapshots.remember(live);
          return { afterMs: 200 };
        }
        await this.#release(content, signal);
        events.record(VOLUME_SNAPSHOT_CONTENTS, content, {
          type: 'Normal',
          reason: 'SnapshotDeleted',
          action: 'Bind',
          note: `VolumeSnapshot ${namespace}/${snapshotName} was deleted; the snapshot's data stays until this content is deleted`,
        });
        return undefined;
      }
    }
  }

  async #carryOut(snapshot: VolumeSnapshot, plan: SnapshotPlan, signal: AbortSignal): Promise<WorkResult> {
    switch (plan.do) {
      case 'nothing':
        return undefined;
      case 'wait':
        await this.#writeFault(snapshot, plan.fault, signal);
        this.#recordEvent(snapshot, { type: 'Warning', reason: plan.reason, note: plan.fault.message });
        return { afterMs: WAIT_MS };
      case 'hold':
        this.#recordEvent(snapshot, {
          type: 'Normal',
          reason: 'SnapshotDeletePending',
          note: plan.fault.message,
        });
        return { afterMs: WAIT_MS };
      case 'set-class':
        await this.#patch(snapshot, { spec: { volumeSnapshotClassName: plan.className } }, signal);
        return undefined;
      case 'add-finalizers':
        await this.#patch(snapshot, { metadata: { finalizers: plan.finalizers } }, signal);
        return undefined;
      case 'create-content':
        return await this.#createContent(snapshot, plan.content, signal);
      case 'report':
        await this.#report(snapshot, plan.status, signal);
        return undefined;
      case 'bind':
      case 'release-content':
      case 'delete-content':
        return await this.#changeContent(snapshot, plan, signal);
      case 'remove-finalizers':
        return await this.#removeFinalizers(snapshot, signal);
    }
  }

  /**
   * Re-reads the snapshot from the API server: a deleted one must not get a content, which would
   * keep data without an owner.
   */
  async #createContent(
    snapshot: VolumeSnapshot,
    wanted: NewContent,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, kinds, claims } = this.#deps;
    const live = await this.#live(snapshot, signal);
    if (live === undefined || planSnapshot(this.#stateOf(live, undefined)).do !== 'create-content') {
      return { afterMs: 200 };
    }
    const { namespace = '', name = '', uid = '' } = live.metadata ?? {};
    await claims.protect(`${namespace}/${live.spec.source.persistentVolumeClaimName ?? ''}`, signal);
    const content: VolumeSnapshotContent = {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: VOLUME_SNAPSHOT_CONTENTS.kind,
      metadata: { name: wanted.name, finalizers: [CONTENT_FINALIZER] },
      spec: {
        volumeSnapshotRef: {
          apiVersion: 'snapshot.storage.k8s.io/v1',
          kind: VOLUME_SNAPSHOTS.kind,
          namespace,
          name,
          uid,
        },
        driver: DRIVER_NAME,
        deletionPolicy: wanted.deletionPolicy,
        volumeSnapshotClassName: wanted.className,
        source: { volumeHandle: wanted.volumeHandle },
        sourceVolumeMode: wanted.volumeMode,
      },
    };
    kinds.contents.remember(await client.create(VOLUME_SNAPSHOT_CONTENTS, content, { signal }));
    const note = `creating a snapshot of claim ${live.spec.source.persistentVolumeClaimName ?? ''}`;
    this.#recordEvent(snapshot, { type: 'Normal', reason: 'CreatingSnapshot', note });
    return undefined;
  }

  /**
   * Re-reads both from the API server: a policy that was just set to Retain counts, and so does a
   * new reference.
   */
  async #changeContent(
    snapshot: VolumeSnapshot,
    plan: Extract<SnapshotPlan, { do: 'bind' | 'release-content' | 'delete-content' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, kinds } = this.#deps;
    const name = contentKeyOf(snapshot);
    const live = await this.#live(snapshot, signal);
    const content = await findObject(client, VOLUME_SNAPSHOT_CONTENTS, { name }, { signal });
    if (live === undefined || content === undefined) return { afterMs: 200 };
    if (planSnapshot(this.#stateOf(live, content)).do !== plan.do) {
      kinds.contents.remember(content);
      kinds.snapshots.remember(live);
      return { afterMs: 200 };
    }
    if (plan.do === 'bind') {
      const volumeSnapshotRef = { ...content.spec.volumeSnapshotRef, uid: live.metadata?.uid };
      const { className: volumeSnapshotClassName } = plan;
      await this.#patchContent(content, { spec: { volumeSnapshotRef, volumeSnapshotClassName } }, signal);
    } else if (plan.do === 'release-content') {
      await this.#release(content, signal);
    } else {
      const { uid, resourceVersion } = content.metadata ?? {};
      const precondition = { uid, resourceVersion };
      await client.delete(VOLUME_SNAPSHOT_CONTENTS, { name }, { precondition, signal });
    }
    return undefined;
  }

  /** Asks the API server for a content that the informer may lack. */
  async #removeFinalizers(snapshot: VolumeSnapshot, signal: AbortSignal): Promise<WorkResult> {
    const { client, kinds } = this.#deps;
    const name = contentKeyOf(snapshot);
    const content = await findObject(client, VOLUME_SNAPSHOT_CONTENTS, { name }, { signal });
    if (planSnapshot(this.#stateOf(snapshot, content)).do !== 'remove-finalizers') {
      if (content !== undefined) kinds.contents.remember(content);
      return { afterMs: 200 };
    }
    const ours: readonly string[] = SNAPSHOT_FINALIZERS;
    const finalizers = (snapshot.metadata?.finalizers ?? []).filter((each) => !ours.includes(each));
    await this.#patch(snapshot, { metadata: { finalizers } }, signal);
    return undefined;
  }

  async #report(snapshot: VolumeSnapshot, status: SnapshotStatus, signal: AbortSignal): Promise<void> {
    const { contentName, isReady, createdMs, sizeBytes, error } = status;
    const before = snapshotView(snapshot).status;
    await this.#patchStatus(
      snapshot,
      {
        boundVolumeSnapshotContentName: contentName,
        readyToUse: isReady,
        creationTime: createdMs === undefined ? undefined : apiTime(new Date(createdMs)),
        restoreSize: sizeBytes === undefined ? undefined : exactQuantity(sizeBytes),
        error: error === undefined ? null : this.#errorOf(error),
      },
      signal,
    );
    const said = (reason: EventReason, note: string, type: EventNote['type'] = 'Normal'): void =>
      this.#recordEvent(snapshot, { type, reason, note });
    if (before.createdMs === undefined && createdMs !== undefined)
      said('SnapshotCreated', 'created the snapshot');
    if (!before.isReady && isReady) said('SnapshotReady', 'the snapshot can be restored');
    if (error !== undefined && error !== before.error) said('SnapshotCreationFailed', error, 'Warning');
  }

  async #writeFault(snapshot: VolumeSnapshot, { message }: Fault, signal: AbortSignal): Promise<void> {
    const { isReady, error } = snapshotView(snapshot).status;
    if (error === message && !isReady) return;
    await this.#patchStatus(snapshot, { readyToUse: false, error: this.#errorOf(message) }, signal);
  }

  #errorOf(message: string): { readonly message: string; readonly time: string } {
    return { message, time: apiTime(new Date(this.#deps.clock.nowMs())) };
  }

  async #release(content: VolumeSnapshotContent, signal: AbortSignal): Promise<void> {
    await this.#patchContent(content, { metadata: { annotations: { [BEING_DELETED]: 'yes' } } }, signal);
  }

  async #patchContent(content: VolumeSnapshotContent, merge: object, signal: AbortSignal): Promise<void> {
    const { client, kinds } = this.#deps;
    const name = { name: content.metadata?.name ?? '' };
    const written = await client.patch(VOLUME_SNAPSHOT_CONTENTS, name, exactly(content, merge), { signal });
    kinds.contents.remember(written);
  }

  async #patch(snapshot: VolumeSnapshot, merge: object, signal: AbortSignal): Promise<void> {
    const { client, kinds } = this.#deps;
    const name = nameOfKey(keyOf(snapshot));
    const written = await client.patch(VOLUME_SNAPSHOTS, name, exactly(snapshot, merge), { signal });
    // Removing the last finalizer of an object that is being deleted deletes the object.
    if (written.metadata?.deletionTimestamp === undefined) kinds.snapshots.remember(written);
  }

  async #patchStatus(snapshot: VolumeSnapshot, status: object, signal: AbortSignal): Promise<void> {
    const { client, kinds } = this.#deps;
    const options = { subresource: 'status', signal };
    const patch = exactly(snapshot, { status });
    kinds.snapshots.remember(
      await client.patch(VOLUME_SNAPSHOTS, nameOfKey(keyOf(snapshot)), patch, options),
    );
  }

  async #live(snapshot: VolumeSnapshot, signal: AbortSignal): Promise<VolumeSnapshot | undefined> {
    const name = nameOfKey(keyOf(snapshot));
    const live = await findObject(this.#deps.client, VOLUME_SNAPSHOTS, name, { signal });
    return live?.metadata?.uid === snapshot.metadata?.uid ? live : undefined;
  }

  #contentOf(snapshot: VolumeSnapshot): VolumeSnapshotContent | undefined {
    return this.#deps.kinds.contents.store.get(contentKeyOf(snapshot));
  }

  #stateOf(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | undefined): SnapshotState {
    const { cluster, kinds } = this.#deps;
    const view = snapshotView(snapshot);
    const source =
      view.claimName === undefined
        ? undefined
        : snapshotSource(`${view.namespace}/${view.claimName}`, cluster);
    return {
      snapshot: view,
      content: content && contentView(content),
      source,
      classes: [...kinds.classes.store.values()].map(snapshotClassView),
      restoring: content === undefined ? [] : restoringFrom(content, cluster),
    };
  }

  #recordEvent(snapshot: VolumeSnapshot, note: Omit<EventNote, 'action'>): void {
    const { events, logger } = this.#deps;
    if (note.type === 'Warning')
      logger.info({ snapshot: keyOf(snapshot), reason: note.note }, 'snapshot is pending');
    events.record(VOLUME_SNAPSHOTS, snapshot, { ...note, action: 'Snapshot' });
  }
}

/**
 * Returns names of volumes that are being restored from the snapshot of a content. Ready ones no
 * longer need it.
 */
export function restoringFrom(content: VolumeSnapshotContent, { volumes }: Cluster): readonly string[] {
  return handlesOf(content)
    .flatMap((handle) => volumes.store.byIndex('handle', handle))
    .flatMap(({ metadata }) => volumes.store.byIndex('snapshot', metadata?.name ?? ''))
    .filter(({ metadata, status }) => {
      const phase = status?.phase ?? 'Pending';
      return phase === 'Pending' && metadata?.deletionTimestamp === undefined;
    })
    .map(({ metadata }) => metadata?.name ?? '');
}

/** The content of a group member is named by the group, and found by the status. */
function contentKeyOf({ metadata, spec, status }: VolumeSnapshot): string {
  const { volumeSnapshotContentName: given } = spec.source;
  if (given !== undefined) return given;
  const isMember = groupUidsOf(metadata).length > 0;
  const own = contentNameOf(metadata?.uid ?? '');
  return isMember ? (status?.boundVolumeSnapshotContentName ?? own) : own;
}

/** Restricts a write to the version of the object that the plan was made from. */
function exactly({ metadata }: VolumeSnapshot | VolumeSnapshotContent, merge: object): Patch {
  return { merge, precondition: { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion } };
}
