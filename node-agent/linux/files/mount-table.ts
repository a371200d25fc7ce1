import { readFile } from 'node:fs/promises';
import { type MountEntry, parseMountTable } from '../../../src/core/volumes/mount-table.ts';

/** Reads the mounts of this process's mount namespace. */
export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
}
