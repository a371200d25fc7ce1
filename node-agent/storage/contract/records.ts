import { basename } from 'node:path';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';

/** The durable records of volumes and snapshots: served from memory, written through to disk. */
export interface RecordStore {
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly snapshots: ReadonlyMap<string, Snapshot>;
  readonly quarantined: readonly QuarantinedRecord[];
  /**
   * Saves a volume. Readers see it at once; it is durable when the promise resolves. Restores the
   * earlier record when that fails.
   */
  saveVolume(volume: Volume): Promise<void>;
  /** Saves a snapshot, as `saveVolume` does. */
  saveSnapshot(snapshot: Snapshot): Promise<void>;
  /** Removes the record of a volume or snapshot; an unknown id is fine. */
  remove(id: string): Promise<void>;
}

/** A record that cannot be read. Its data stays on the pool, and its volume is not served. */
export interface QuarantinedRecord {
  readonly file: string;
  readonly reason: string;
}

/** Returns the id of a quarantined volume or snapshot, from the name of its file. */
export function quarantinedId({ file }: QuarantinedRecord): string {
  return basename(file, '.json');
}
