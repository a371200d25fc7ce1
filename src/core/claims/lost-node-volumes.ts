import type { ConditionReason } from '../reasons/condition-reasons.ts';
import type { EventReason } from '../reasons/event-reasons.ts';

/** A LocalVolume, as far as its node and its owner are concerned. */
export interface LostVolumeView {
  readonly name: string;
  readonly nodeName: string;
  /** Its owner is a VolumeSnapshotContent, which is seen to elsewhere. */
  readonly isSnapshot: boolean;
  readonly phase: string;
  readonly message: string;
  readonly handle: string;
  readonly isDeleting: boolean;
  /** A PersistentVolume was made of it once. */
  readonly isPublished: boolean;
  /** Somebody has said, of this very volume, that its data on that node is given up. */
  readonly isReleased: boolean;
}

/** `away`: in the cluster, and silent. */
export type NodePresence = 'ready' | 'unresponsive' | 'deleted';

export interface LostNodeInput {
  readonly volume: LostVolumeView;
  readonly node: NodePresence;
  /** PersistentVolumes with its handle. */
  readonly owners: readonly { readonly name: string; readonly reclaimPolicy: string }[];
}

export interface LostNodeCondition {
  /** For the event and the condition. */
  readonly reason: (EventReason & ConditionReason) | Extract<ConditionReason, 'Retained'>;
  readonly message: string;
}

export interface LostNodePlan {
  /**
   * `delete`: nobody has it, and its data is given up. `let-go`: it is being deleted, and its node will not say that it has cleaned up:
   * take off the finalizers. What may still be on that node is left there. `take-back`: its node can serve it; a word that was said in vain
   * must not come true when that node is next silent for a minute.
   */
  readonly do: 'nothing' | 'delete' | 'remove-finalizers' | 'withdraw-release';
  /** For whoever has the volume; undefined while all is well. */
  readonly condition: LostNodeCondition | undefined;
}

/** What becomes of a volume whose node, data or owner is gone. Nothing is given up unless somebody says so, and never of a node that is here. */
export function planLostNodeVolume({ volume, node, owners }: LostNodeInput): LostNodePlan {
  const { name, nodeName, isDeleting, isReleased } = volume;
  if (isReleased && node === 'ready') {
    const message = `volume ${name} was to be given up, but node ${nodeName} is Ready and can serve it: it is kept; delete its claim to delete it there`;
    return { do: 'withdraw-release', condition: { reason: 'ReleaseRefused', message } };
  }
  if (isReleased) return planReleased(volume, node, owners);
  if (node === 'deleted') {
    const how = `give it up: kubectl keelson release volume/${name}`;
    const fate = isDeleting
      ? `it is deleted there if the node returns; if that never happens, ${how}`
      : `nothing of it is deleted, and it is served again if the node returns; if that never happens, ${how}`;
    const message = `volume ${name} is on node ${nodeName}, which is gone from the cluster: ${fate}`;
    return { do: 'nothing', condition: { reason: 'NodeLost', message } };
  }
  if (volume.isSnapshot) return { do: 'nothing', condition: undefined };
  if (volume.phase === 'Lost' && !isDeleting) {
    const message = `the data of volume ${name} is lost to node ${nodeName}: ${volume.message}`;
    return { do: 'nothing', condition: { reason: 'VolumeLost', message } };
  }
  if (volume.isPublished && owners.length === 0 && !isDeleting) {
    const message = `no PersistentVolume has it: make one with driver keelson.dev and volumeHandle ${volume.handle} to use its data, or delete this LocalVolume and the data with it`;
    return { do: 'nothing', condition: { reason: 'Retained', message } };
  }
  return { do: 'nothing', condition: undefined };
}

function planReleased(
  { name, nodeName, isDeleting, isSnapshot }: LostVolumeView,
  node: NodePresence,
  owners: LostNodeInput['owners'],
): LostNodePlan {
  const where = `node ${nodeName}, which is ${node === 'deleted' ? 'deleted' : 'not Ready'}`;
  const message = `volume ${name} on ${where}, was given up`;
  if (isDeleting) return { do: 'remove-finalizers', condition: { reason: 'VolumeReleased', message } };
  if (isSnapshot) {
    const todo = `${message}: delete its VolumeSnapshot`;
    return { do: 'nothing', condition: { reason: 'VolumeReleased', message: todo } };
  }
  if (owners.length === 0) return { do: 'delete', condition: { reason: 'VolumeReleased', message } };
  const kept = owners.filter(({ reclaimPolicy }) => reclaimPolicy !== 'Delete').map((owner) => owner.name);
  const todo =
    kept.length === 0
      ? 'delete this claim and the pods that use it, and make it again to get an empty volume elsewhere'
      : `delete this claim and PersistentVolume ${kept.join(', ')}, which has policy Retain, and make the claim again to get an empty volume elsewhere`;
  return { do: 'nothing', condition: { reason: 'VolumeReleased', message: `${message}: ${todo}` } };
}
