import type { BackendKind } from '../volumes/backend-features.ts';
/** A claim, as far as provisioning looks at it. */
export interface ClaimView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly className: string;
  /** The volume that it is bound or being bound to; empty for none. */
  readonly volumeName: string;
  /** Who is asked to provision, by the annotation of the volume binder; undefined before it has asked. */
  readonly provisioner: string | undefined;
  readonly selectedNode: string | undefined;
  /** As written: `10Gi`. */
  readonly request: string;
  readonly accessModes: readonly string[];
  readonly volumeMode: string;
  readonly hasSelector: boolean;
  readonly attributesClassName: string | undefined;
  readonly dataSource: DataSource | undefined;
  /** Those that templates of its class may name. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface DataSource {
  readonly apiGroup: string;
  readonly kind: string;
  readonly name: string;
  /** Where it is, when that is not the claim's own namespace. */
  readonly namespace: string | undefined;
}

/** A StorageClass of ours. */
export interface ClassView {
  readonly name: string;
  readonly waitsForConsumer: boolean;
  readonly parameters: Readonly<Record<string, string>>;
  /** Terms are alternatives; within one all must hold. Empty: everywhere. */
  readonly allowedTopologies: readonly (readonly TopologyRequirement[])[];
}

export interface TopologyRequirement {
  readonly key: string;
  readonly values: readonly string[];
}

/** A node with what its agent says of its pools. */
export interface NodeView {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly isUsable: boolean;
  readonly pools: readonly PoolView[];
}

/** The nodes of a cluster, by name. Looking at one does not cost looking at all of them. */
export type NodeDirectory = Pick<ReadonlyMap<string, NodeView>, 'get' | 'has' | 'values'>;

export interface PoolView {
  readonly name: string;
  /** Absent where its agent does not say. */
  readonly backend?: BackendKind | undefined;
  /** By these classes select it; absent where its agent does not say. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** What it can, in the words of the inventory; absent where its agent does not say. */
  readonly features?: readonly string[] | undefined;
  readonly isReady: boolean;
  /** Why not. */
  readonly reason: string | undefined;
  /** The largest volume that could be made now, without what is placed there but not made yet. */
  readonly freeBytes: bigint;
}

/** The intent and truth of one volume. */
export interface VolumeView {
  readonly nodeName: string;
  readonly poolName: string;
  readonly isDeleting: boolean;
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly hasHandle: boolean;
  /** Its node has said anything of it. */
  readonly isAnswered: boolean;
  readonly sizeBytes: bigint;
  readonly message: string;
  /** A PersistentVolume was made of it once: from then on only deleting that, under policy Delete, may delete this. */
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

/** Name of the LocalVolume and of the PersistentVolume of a claim. */
export function volumeNameOf(claimUid: string): string {
  return `pvc-${claimUid}`;
}

/** `claim NAMESPACE/NAME`, as messages call it. */
export function describeClaim({ namespace, name }: Pick<ClaimView, 'namespace' | 'name'>): string {
  return `claim ${namespace}/${name}`;
}
