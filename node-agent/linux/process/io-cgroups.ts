import { constants } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type CgroupWrite, planBlkioThrottle, planIoMax } from '../../../src/core/volumes/io-limits.ts';
import type { VolumeAttributes } from '../../../src/core/volumes/volume-attributes.ts';

/** The cgroups of the machine, as far as they bound the I/O of a device. */
export interface IoCgroups {
  /**
   * True where a limit counts in one cgroup alone (version 1): those made later have to be found.
   * Else (version 2) those at the top bound all that is below them together, now and later.
   */
  readonly isFlat: boolean;
  /** Directories of the cgroups that limits have to be set in. */
  list(): Promise<readonly string[]>;
  /**
   * Sets or lifts the limits of a device (`MAJOR:MINOR`) in one of them. A cgroup or a device that
   * went meanwhile is fine.
   */
  limit(group: string, device: string, attributes: VolumeAttributes): Promise<void>;
}

/**
 * Gone in between: ENOENT for the directory, ENODEV for a cgroup that is being removed and for a
 * device that nobody has.
 */
const WENT = new Set(['ENOENT', 'ENODEV', 'ENXIO']);
const V1_FILE = 'blkio.throttle.write_bps_device';
const V2_FILE = 'io.max';

/** The cgroups mounted at `root`; undefined where the kernel limits no I/O by them. */
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
  // With the root, which stands for what the kernel writes back on behalf of everybody.
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

/** The cgroups right below the root that have the file: the root itself has none in version 2. */
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
  // Grows while it is walked.
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
