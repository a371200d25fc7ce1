/** Volume streams on the agent's admin socket: POST imports, GET exports. */
export const VOLUME_STREAM_PATH = '/volume-stream';

/** Deletion of a volume, a snapshot or orphaned data by its id: POST. */
export const VOLUME_DELETE_PATH = '/volume-delete';

/** What was deleted, human-readable. */
export interface DeletedVolumes {
  readonly removed: readonly string[];
}

/** JSON body of a refused call. */
export interface AdminRefusal {
  readonly kind: string;
  readonly message: string;
}
