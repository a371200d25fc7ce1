/** The LocalVolume of type Snapshot that holds the data of a VolumeSnapshotContent on its node. */
export interface NodeSnapshotView {
  readonly name: string;
  readonly nodeName: string;
  readonly poolName: string;
  readonly isDeleting: boolean;
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly handle: string | undefined;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint;
  readonly message: string;
  /**
   * A content may have published its handle. From then on only the deletion of that content, under
   * policy Delete, may delete the snapshot.
   */
  readonly isPublished: boolean;
}

/** The volume that a snapshot is created from. */
export interface NodeSnapshotSource {
  readonly volumeName: string;
  readonly nodeName: string;
  readonly poolName: string;
  readonly size: string;
  readonly volumeMode: 'Filesystem' | 'Block';
}

/**
 * The next step for a content, of a single snapshot or of a group; `Status` is what its status
 * reports. `names` are those of LocalVolumes.
 */
export type ContentPlan<Status> =
  | { readonly do: 'nothing' }
  /** Create the LocalVolumes of these volumes' snapshots. */
  | { readonly do: 'create'; readonly volumeHandles: readonly string[] }
  /** Annotate the LocalVolumes before their handles are published. */
  | { readonly do: 'annotate'; readonly names: readonly string[] }
  | { readonly do: 'report'; readonly status: Status }
  /** Delete LocalVolumes whose handles were never published, report `status`, and retry later. */
  | { readonly do: 'discard'; readonly names: readonly string[]; readonly status: Status }
  /** Delete the snapshots together with their content. */
  | { readonly do: 'delete-snapshots'; readonly names: readonly string[] }
  /** Remove the finalizers of unpublished snapshots whose node no longer exists. */
  | { readonly do: 'abandon'; readonly names: readonly string[] }
  /** The content is being deleted and its data must stay. */
  | { readonly do: 'refuse'; readonly note: string }
  /** Let the content go. */
  | { readonly do: 'remove-finalizer' };

/** The plan without a step. */
export const NO_STEP = { do: 'nothing' } as const;

/** The next step for a snapshot without a content. */
export type OrphanPlan = { readonly do: 'nothing' } | { readonly do: 'delete' } | { readonly do: 'abandon' };

/**
 * Returns the next step for the LocalVolume of a snapshot that has no content. One whose handle was
 * published stays; another is deleted, or abandoned when its node does not exist.
 */
export function planOrphan(
  { isDeleting, isPublished }: Pick<NodeSnapshotView, 'isDeleting' | 'isPublished'>,
  hasNode: boolean,
): OrphanPlan {
  if (isPublished) return NO_STEP;
  if (!isDeleting) return { do: 'delete' };
  return hasNode ? NO_STEP : { do: 'abandon' };
}
