import type { ConditionReason } from '../reasons/condition-reasons.ts';
import type { EventReason } from '../reasons/event-reasons.ts';

/** A LocalVolume with its node and owner. */
export interface LostVolumeView {
  readonly name: string;
  readonly nodeName: string;
  /** Its owner is a VolumeSnapshotContent, which the content reconciler handles. */
  readonly isSnapshot: boolean;
  readonly phase: string;
  readonly message: string;
  readonly handle: string;
  readonly isDeleting: boolean;
  /** A PersistentVolume was created for it. */
  readonly isPublished: boolean;
  /** An administrator released its data on that node, by an annotation with this volume's UID. */
  readonly isReleased: boolean;
}

/** `unresponsive`: the Node exists and is not Ready. */
export type NodePresence = 'ready' | 'unresponsive' | 'deleted';

/** What the next step for a volume depends on. */
export interface LostNodeInput {
  readonly volume: LostVolumeView;
  readonly node: NodePresence;
  /** PersistentVolumes with its handle. */
  readonly owners: readonly { readonly name: string; readonly reclaimPolicy: string }[];
}

/** Reason and message of an event and a condition. */
export interface LostNodeCondition {
  /** Reason of the event and the condition. */
  readonly reason: (EventReason & ConditionReason) | Extract<ConditionReason, 'Retained'>;
  readonly message: string;
}

/** The next step for a volume, and what to report. */
export interface LostNodePlan {
  /**
   * `delete`: the volume has no owner and its data was released. `remove-finalizers`: it is being
   * deleted and its node will not confirm the clean-up; data on that node stays.
   * `withdraw-release`: its node can serve it; the release must not take effect when the node is
   * next unresponsive.
   */
  readonly do: 'nothing' | 'delete' | 'remove-finalizers' | 'withdraw-release';
  /** For the users of the volume; undefined while it is fine. */
  readonly condition: LostNodeCondition | undefined;
}

/**
 * Returns the next step for a volume whose node, data or owner is lost. Data is only released at an
 * administrator's request, and never on a Ready node.
 */
export function planLostNodeVolume({ volume, node, owners }: LostNodeInput): LostNodePlan {
  const { name, nodeName, isDeleting, isReleased } = volume;
  if (isReleased && node === 'ready') {
    const message = `volume ${name} is not released: node ${nodeName} is Ready and serves it; delete its claim to delete the data there`;
    return { do: 'withdraw-release', condition: { reason: 'ReleaseRefused', message } };
  }
  if (isReleased) return planReleased(volume, node, owners);
  if (node === 'deleted') {
    const how = `release it: kubectl keelson release volume/${name}`;
    const fate = isDeleting
      ? `it is deleted if the node returns; if the node never returns, ${how}`
      : `its data is kept, and served again if the node returns; if the node never returns, ${how}`;
    const message = `volume ${name} is on node ${nodeName}, which no longer exists: ${fate}`;
    return { do: 'nothing', condition: { reason: 'NodeLost', message } };
  }
  if (volume.isSnapshot) return { do: 'nothing', condition: undefined };
  if (volume.phase === 'Lost' && !isDeleting) {
    const message = `node ${nodeName} lost the data of volume ${name}: ${volume.message}`;
    return { do: 'nothing', condition: { reason: 'VolumeLost', message } };
  }
  if (volume.isPublished && owners.length === 0 && !isDeleting) {
    const message = `it has no PersistentVolume: create one with driver keelson.dev and volumeHandle ${volume.handle} to use its data, or delete this LocalVolume to delete the data`;
    return { do: 'nothing', condition: { reason: 'Retained', message } };
  }
  return { do: 'nothing', condition: undefined };
}

function planReleased(
  { name, nodeName, isDeleting, isSnapshot }: LostVolumeView,
  node: NodePresence,
  owners: LostNodeInput['owners'],
): LostNodePlan {
  const where = `node ${nodeName}, which ${node === 'deleted' ? 'no longer exists' : 'is not Ready'}`;
  const message = `volume ${name} on ${where}, was released`;
  if (isDeleting) return { do: 'remove-finalizers', condition: { reason: 'VolumeReleased', message } };
  if (isSnapshot) {
    const todo = `${message}: delete its VolumeSnapshot`;
    return { do: 'nothing', condition: { reason: 'VolumeReleased', message: todo } };
  }
  if (owners.length === 0) return { do: 'delete', condition: { reason: 'VolumeReleased', message } };
  const kept = owners.filter(({ reclaimPolicy }) => reclaimPolicy !== 'Delete').map((owner) => owner.name);
  const todo =
    kept.length === 0
      ? 'delete this claim and the pods that use it, and re-create it to get an empty volume elsewhere'
      : `delete this claim and PersistentVolume ${kept.join(', ')}, which has policy Retain, and re-create the claim to get an empty volume elsewhere`;
  return { do: 'nothing', condition: { reason: 'VolumeReleased', message: `${message}: ${todo}` } };
}
