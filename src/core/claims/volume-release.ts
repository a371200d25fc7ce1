import { Fault } from '../fault.ts';
import type { NodePresence } from './lost-node-volumes.ts';

/** What a person gives up: all that a node has, or one volume or snapshot by the name of its LocalVolume. */
export interface ReleaseSubject {
  readonly kind: 'node' | 'volume';
  readonly name: string;
}

/** The node that is lost, as the API server has it. */
export interface LostNode {
  readonly name: string;
  readonly presence: NodePresence;
}

/** A LocalVolume that may be given up, and who has it. */
export interface ReleaseCandidate {
  readonly name: string;
  /** Of this very object: the word counts for no other one of its name. */
  readonly uid: string;
  readonly type: 'Volume' | 'Snapshot';
  readonly sizeBytes: bigint;
  /** PersistentVolumes with its handle; a snapshot has none. */
  readonly owners: readonly ReleaseOwner[];
  /** The VolumeSnapshot of a snapshot, while that exists. */
  readonly snapshot: NamespacedName | undefined;
  /** Somebody has said so already. */
  readonly isReleased: boolean;
}

export interface NamespacedName {
  readonly namespace: string;
  readonly name: string;
}

export interface ReleaseOwner {
  readonly persistentVolume: string;
  readonly reclaimPolicy: string;
  /** Undefined when that is gone. */
  readonly claim: NamespacedName | undefined;
  /** Pods with that claim, in its namespace. */
  readonly pods: readonly string[];
}

/** Throws `precondition` while the node can serve: what it has is deleted there, not given up. */
export function checkRelease({ kind, name }: ReleaseSubject, node: LostNode): void {
  if (node.presence !== 'ready') return;
  const what = kind === 'node' ? 'its volumes' : `volume ${name}`;
  throw new Fault(
    'precondition',
    `node ${node.name} is Ready and can serve ${what}: nothing is given up; delete the claims to delete the data there`,
  );
}

/** What is left to do once a volume is given up: commands, in their order. None: it goes from the API by itself. */
export function planAfterRelease({ owners, snapshot }: ReleaseCandidate): readonly string[] {
  const forSnapshot =
    snapshot && `kubectl delete volumesnapshot -n ${snapshot.namespace} ${snapshot.name} --wait=false`;
  return [
    ...(forSnapshot === undefined ? [] : [forSnapshot]),
    ...owners.flatMap(({ claim, pods, persistentVolume, reclaimPolicy }) => [
      ...(claim === undefined
        ? []
        : [
            // Pods hold it: the claim first, so that whatever makes the pods anew makes it anew as well.
            `kubectl delete pvc -n ${claim.namespace} ${claim.name} --wait=false`,
            ...pods.map((pod) => `kubectl delete pod -n ${claim.namespace} ${pod} --force`),
          ]),
      ...(reclaimPolicy === 'Delete' ? [] : [`kubectl delete pv ${persistentVolume} --wait=false`]),
    ]),
  ];
}

/** The node in words, as the reason why its volumes cannot be reached. */
export function describeLostNode({ name, presence }: LostNode): string {
  return presence === 'deleted' ? `node ${name} is gone from the cluster` : `node ${name} is not Ready`;
}
