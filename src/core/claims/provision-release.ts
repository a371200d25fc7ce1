/** A PersistentVolume of Keelson and what its reclaiming depends on. */
export interface PersistentVolumeView {
  readonly name: string;
  readonly phase: string;
  readonly reclaimPolicy: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** It has a node affinity; one written by hand may lack it. */
  readonly isPinned: boolean;
  /** Other PersistentVolumes with the same handle, which share the data. */
  readonly sharers: readonly string[];
}

/** The LocalVolume behind it. */
export interface ReleasedVolumeView {
  readonly isDeleting: boolean;
  readonly isPublished: boolean;
}

/** The next step of reclaiming a PersistentVolume. */
export type ReleasePlan =
  | { readonly do: 'nothing' }
  /**
   * Annotate the LocalVolume with its owner. `isHeld`: not urgent, for the finalizer keeps the
   * owner until then.
   */
  | { readonly do: 'mark'; readonly isHeld: boolean }
  /** Add the node affinity, so that pods are scheduled there. */
  | { readonly do: 'pin' }
  | { readonly do: 'add-finalizer' }
  | { readonly do: 'remove-finalizer' }
  /** Delete the LocalVolume: its node deletes the data. */
  | { readonly do: 'delete-volume' }
  /** The data is deleted: delete the PersistentVolume and remove its finalizer. */
  | { readonly do: 'delete-persistent-volume' }
  /** It is to be deleted, and its data must stay. */
  | { readonly do: 'refuse'; readonly note: string };

/**
 * Returns the next step of reclaiming a PersistentVolume. The data is deleted first, then the
 * finalizer and the object: after any crash, data has an owner.
 */
export function planRelease(
  owner: PersistentVolumeView,
  volume: ReleasedVolumeView | undefined,
): ReleasePlan {
  const isUnmarked = volume !== undefined && !volume.isPublished && !volume.isDeleting;
  // With policy Delete and the finalizer, the owner exists until the volume is being deleted, so
  // the annotation can wait or is not needed.
  const isHeld = owner.hasFinalizer && owner.reclaimPolicy === 'Delete';
  if (isUnmarked && !isHeld) return { do: 'mark', isHeld };
  if (volume !== undefined && !volume.isDeleting && !owner.isDeleting && !owner.isPinned) {
    return { do: 'pin' };
  }
  if (owner.reclaimPolicy !== 'Delete') {
    return owner.hasFinalizer ? { do: 'remove-finalizer' } : { do: 'nothing' };
  }
  if (!isReleased(owner)) {
    const lacks = !owner.isDeleting && !owner.hasFinalizer;
    if (lacks && owner.phase === 'Bound') return { do: 'add-finalizer' };
    return isUnmarked ? { do: 'mark', isHeld } : { do: 'nothing' };
  }
  // An administrator removed Keelson's finalizer to keep the data.
  if (owner.isDeleting && !owner.hasFinalizer) return { do: 'nothing' };
  const [sharer] = owner.sharers;
  if (sharer !== undefined) {
    return {
      do: 'refuse',
      note: `PersistentVolume ${sharer} has the same volume, so its data stays; delete that PersistentVolume, or set the reclaim policy of this one to Retain`,
    };
  }
  if (volume === undefined) return { do: 'delete-persistent-volume' };
  return volume.isDeleting ? { do: 'nothing' } : { do: 'delete-volume' };
}

/** Its claim was deleted, or it is being deleted without a claim. */
function isReleased({ phase, isDeleting }: PersistentVolumeView): boolean {
  if (phase === 'Released' || phase === 'Failed') return true;
  return isDeleting && (phase === 'Available' || phase === 'Pending');
}
