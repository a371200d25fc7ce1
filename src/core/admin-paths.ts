/** Where the agent takes and gives streams of volumes on its admin socket: POST imports, GET exports. */
export const VOLUME_STREAM_PATH = '/volume-stream';

/** What the agent tells of a call that it refuses, as JSON. */
export interface AdminRefusal {
  readonly kind: string;
  readonly message: string;
}
