/** A PersistentVolume of ours, as far as its end is concerned. */
export interface PersistentVolumeView {
  readonly name: string;
  readonly phase: string;
  readonly reclaimPolicy: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** It says where it is; one that is written by hand may not. */
  readonly isPinned: boolean;
  /** Other PersistentVolumes with the same handle: the data is theirs as well. */
  readonly sharers: readonly string[];
}

/** The LocalVolume behind it. */
export interface ReleasedVolumeView {
  readonly isDeleting: boolean;
  readonly isPublished: boolean;
}

export type ReleasePlan =
  | { readonly do: 'nothing' }
  /** Note on the LocalVolume that it has an owner. `isHeld`: that can wait, for the finalizer keeps the owner until then. */
  | { readonly do: 'mark'; readonly isHeld: boolean }
  /** Say where it is, so that pods go there. */
  | { readonly do: 'pin' }
  | { readonly do: 'add-finalizer' }
  | { readonly do: 'remove-finalizer' }
  /** Delete the LocalVolume: its node deletes the data. */
  | { readonly do: 'delete-volume' }
  /** The data is gone: delete the PersistentVolume, and let it go. */
  | { readonly do: 'delete-persistent-volume' }
  /** It should be deleted, and must not be. */
  | { readonly do: 'refuse'; readonly note: string };

/**
 * The next step towards the end of a PersistentVolume. Data goes first, then the finalizer and the object: whatever a crash leaves, there is
 * an owner for as long as there is data.
 */
export function planRelease(
  owner: PersistentVolumeView,
  volume: ReleasedVolumeView | undefined,
): ReleasePlan {
  const isUnmarked = volume !== undefined && !volume.isPublished && !volume.isDeleting;
  // With Delete and the finalizer there is an owner until the volume is being deleted, so the note is for later, or for nothing.
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
  // Without our finalizer, somebody who is deleting it has taken it off to keep the data.
  if (owner.isDeleting && !owner.hasFinalizer) return { do: 'nothing' };
  const [sharer] = owner.sharers;
  if (sharer !== undefined) {
    return {
      do: 'refuse',
      note: `PersistentVolume ${sharer} has the same volume, so its data stays; delete that one, or set this one's reclaim policy to Retain`,
    };
  }
  if (volume === undefined) return { do: 'delete-persistent-volume' };
  return volume.isDeleting ? { do: 'nothing' } : { do: 'delete-volume' };
}

/** Its claim is gone, or it is being deleted and no claim has it. */
function isReleased({ phase, isDeleting }: PersistentVolumeView): boolean {
  if (phase === 'Released' || phase === 'Failed') return true;
  return isDeleting && (phase === 'Available' || phase === 'Pending');
}
