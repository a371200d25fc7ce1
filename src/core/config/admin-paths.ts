/** Where the agent takes and gives streams of volumes on its admin socket: POST imports, GET exports. */
export const VOLUME_STREAM_PATH = '/volume-stream';

/** Where it takes the id of a volume, a snapshot or data that is to be deleted: POST. */
export const VOLUME_DELETE_PATH = '/volume-delete';

/** What was deleted, for people. */
export interface DeletedVolumes {
  readonly removed: readonly string[];
}

/** What the agent tells of a call that it refuses, as JSON. */
export interface AdminRefusal {
  readonly kind: string;
  readonly message: string;
}
