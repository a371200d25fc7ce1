import { readFile } from 'node:fs/promises';
import { type MountEntry, parseMountTable } from '../../../src/core/volumes/mount-table.ts';

/** The mounts that this process sees. */
export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
}
