import type { BackendKind } from '../volumes/backend-features.ts';
/** A claim, with the fields that provisioning reads. */
export interface ClaimView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly className: string;
  /** The PersistentVolume that it is bound or being bound to; empty for none. */
  readonly volumeName: string;
  /**
   * Value of the storage-provisioner annotation; undefined before kube-controller-manager sets it.
   */
  readonly provisioner: string | undefined;
  readonly selectedNode: string | undefined;
  /** A quantity: `10Gi`. */
  readonly request: string;
  readonly accessModes: readonly string[];
  readonly volumeMode: string;
  readonly hasSelector: boolean;
  readonly attributesClassName: string | undefined;
  readonly dataSource: DataSource | undefined;
  /** Annotations that secret templates of its class may refer to. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The source of a claim (`spec.dataSourceRef`). */
export interface DataSource {
  readonly apiGroup: string;
  readonly kind: string;
  readonly name: string;
  /** Namespace of the source, if not the claim's own. */
  readonly namespace: string | undefined;
}

/** A StorageClass of Keelson. */
export interface ClassView {
  readonly name: string;
  readonly waitsForConsumer: boolean;
  readonly parameters: Readonly<Record<string, string>>;
  /** Terms are alternatives; within a term all requirements must hold. Empty: everywhere. */
  readonly allowedTopologies: readonly (readonly TopologyRequirement[])[];
}

/** A label of a topology term and its allowed values. */
export interface TopologyRequirement {
  readonly key: string;
  readonly values: readonly string[];
}

/** A node with the pools that its agent reports. */
export interface NodeView {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly isUsable: boolean;
  readonly pools: readonly PoolView[];
}

/** The nodes of a cluster, by name; looking up one does not build the views of all. */
export type NodeDirectory = Pick<ReadonlyMap<string, NodeView>, 'get' | 'has' | 'values'>;

/** A pool of a node, as its agent reports it. */
export interface PoolView {
  readonly name: string;
  /** Absent when the agent does not report it. */
  readonly backend?: BackendKind | undefined;
  /** Labels that classes select; absent when the agent does not report them. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Features as in the inventory; absent when the agent does not report them. */
  readonly features?: readonly string[] | undefined;
  readonly isReady: boolean;
  /** Why the pool is not ready. */
  readonly reason: string | undefined;
  /**
   * The largest volume that can be created now, less volumes that are placed there and not created
   * yet.
   */
  readonly freeBytes: bigint;
}

/** A LocalVolume: the requested state and the reported state of one volume. */
export interface VolumeView {
  readonly nodeName: string;
  readonly poolName: string;
  readonly isDeleting: boolean;
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly hasHandle: boolean;
  /** Its agent has reported on it. */
  readonly isAnswered: boolean;
  readonly sizeBytes: bigint;
  readonly message: string;
  /**
   * A PersistentVolume was created for it: from then on only its deletion, under policy Delete, may
   * delete the volume.
   */
  readonly isPublished: boolean;
}

/** What a copy is made from. */
export interface SourceView {
  /** The LocalVolume of type Volume or Snapshot. */
  readonly content: { readonly volumeName: string } | { readonly snapshotName: string };
  readonly nodeName: string;
  readonly poolName: string;
  readonly sizeBytes: bigint;
}

/** Returns the name of the LocalVolume and PersistentVolume of a claim. */
export function volumeNameOf(claimUid: string): string {
  return `pvc-${claimUid}`;
}

/** Returns `claim NAMESPACE/NAME` for messages. */
export function describeClaim({ namespace, name }: Pick<ClaimView, 'namespace' | 'name'>): string {
  return `claim ${namespace}/${name}`;
}
