import { constants } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type CgroupWrite, planBlkioThrottle, planIoMax } from '../../../src/core/volumes/io-limits.ts';
import type { VolumeAttributes } from '../../../src/core/volumes/volume-attributes.ts';

/** The host's cgroups that limit the I/O of block devices. */
export interface IoCgroups {
  /**
   * True for version 1, where a limit applies to one cgroup alone, so new cgroups need it as well.
   * In version 2, limits of top-level cgroups apply to all their descendants.
   */
  readonly isFlat: boolean;
  /** Lists the directories of the cgroups in which to set limits. */
  list(): Promise<readonly string[]>;
  /** Sets or removes the limits of a device (`MAJOR:MINOR`) in a cgroup. Either may be absent. */
  limit(group: string, device: string, attributes: VolumeAttributes): Promise<void>;
}

/**
 * Errors of absent cgroups and devices: ENOENT for the directory; ENODEV for a cgroup being
 * removed, and for an unused device number.
 */
const WENT = new Set(['ENOENT', 'ENODEV', 'ENXIO']);
const V1_FILE = 'blkio.throttle.write_bps_device';
const V2_FILE = 'io.max';

/**
 * Opens the cgroups mounted at `root`; undefined if the kernel does not support I/O limits by
 * cgroup.
 */
export async function findIoCgroups(root: string): Promise<IoCgroups | undefined> {
  const controllers = await readFile(join(root, 'cgroup.controllers'), 'utf8').catch(absent);
  if (controllers !== undefined) {
    if (!controllers.split(/\s+/).includes('io')) return undefined;
    const groups = await listTop(root);
    return groups.length === 0
      ? undefined
      : { isFlat: false, list: () => listTop(root), limit: limitBy(planIoMax) };
  }
  const blkio = join(root, 'blkio');
  if ((await stat(join(blkio, V1_FILE)).catch(absent)) === undefined) return undefined;
  // Includes the root, which the kernel charges with writeback on behalf of all.
  return { isFlat: true, list: () => listTree(blkio), limit: limitBy(planBlkioThrottle) };
}

function limitBy(plan: (device: string, attributes: VolumeAttributes) => CgroupWrite[]): IoCgroups['limit'] {
  return async (group, device, attributes) => {
    for (const { file, text } of plan(device, attributes)) {
      try {
        await using handle = await open(join(group, file), constants.O_WRONLY);
        await handle.write(text);
      } catch (error) {
        if (!WENT.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
    }
  };
}

/** Lists the children of the root that have the file: in version 2 the root has none. */
async function listTop(root: string): Promise<string[]> {
  const groups: string[] = [];
  for (const entry of await readdir(root, { withFileTypes: true })) {
    const group = join(root, entry.name);
    if (entry.isDirectory() && (await stat(join(group, V2_FILE)).catch(absent)) !== undefined) {
      groups.push(group);
    }
  }
  return groups;
}

async function listTree(root: string): Promise<string[]> {
  const found = [root];
  // The list grows while it is walked.
  for (const group of found) {
    const entries = await readdir(group, { withFileTypes: true }).catch(absent);
    for (const entry of entries ?? []) if (entry.isDirectory()) found.push(join(group, entry.name));
  }
  return found;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (WENT.has(error.code ?? '')) return undefined;
  throw error;
}
