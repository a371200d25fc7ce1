import { Fault } from '../fault.ts';
import type { NodePresence } from './lost-node-volumes.ts';

/**
 * What an administrator releases: all volumes of a node, or one volume or snapshot by the name of
 * its LocalVolume.
 */
export interface ReleaseSubject {
  readonly kind: 'node' | 'volume';
  readonly name: string;
}

/** The lost node, as the API server has it. */
export interface LostNode {
  readonly name: string;
  readonly presence: NodePresence;
}

/** A LocalVolume that may be released, and its users. */
export interface ReleaseCandidate {
  readonly name: string;
  /** UID of this object: a release does not apply to another one of its name. */
  readonly uid: string;
  readonly type: 'Volume' | 'Snapshot';
  readonly sizeBytes: bigint;
  /** PersistentVolumes with its handle; a snapshot has none. */
  readonly owners: readonly ReleaseOwner[];
  /** The VolumeSnapshot of a snapshot, while it exists. */
  readonly snapshot: NamespacedName | undefined;
  /** It was released already. */
  readonly isReleased: boolean;
}

interface NamespacedName {
  readonly namespace: string;
  readonly name: string;
}

/** A PersistentVolume with the released volume, and its claim. */
export interface ReleaseOwner {
  readonly persistentVolume: string;
  readonly reclaimPolicy: string;
  /** Undefined when it was deleted. */
  readonly claim: NamespacedName | undefined;
  /** Pods with that claim, in its namespace. */
  readonly pods: readonly string[];
}

/** Throws `precondition` while the node is Ready: its data is deleted there, not released. */
export function checkRelease({ kind, name }: ReleaseSubject, node: LostNode): void {
  if (node.presence !== 'ready') return;
  const what = kind === 'node' ? 'its volumes' : `volume ${name}`;
  throw new Fault(
    'precondition',
    `node ${node.name} is Ready and serves ${what}: nothing is released; delete the claims to delete the data there`,
  );
}

/**
 * Returns the commands to run after a release, in their order. None: the volume is removed from the
 * API automatically.
 */
export function planAfterRelease({ owners, snapshot }: ReleaseCandidate): readonly string[] {
  const forSnapshot =
    snapshot && `kubectl delete volumesnapshot -n ${snapshot.namespace} ${snapshot.name} --wait=false`;
  return [
    ...(forSnapshot === undefined ? [] : [forSnapshot]),
    ...owners.flatMap(({ claim, pods, persistentVolume, reclaimPolicy }) => [
      ...(claim === undefined
        ? []
        : [
            // Pods block the deletion of the claim: the claim comes first, so that the controller
            // that re-creates the pods re-creates it too.
            `kubectl delete pvc -n ${claim.namespace} ${claim.name} --wait=false`,
            ...pods.map((pod) => `kubectl delete pod -n ${claim.namespace} ${pod} --force`),
          ]),
      ...(reclaimPolicy === 'Delete' ? [] : [`kubectl delete pv ${persistentVolume} --wait=false`]),
    ]),
  ];
}

/** Returns why the volumes of the node cannot be reached. */
export function describeLostNode({ name, presence }: LostNode): string {
  return presence === 'deleted' ? `node ${name} no longer exists` : `node ${name} is not Ready`;
}
