import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';

/** File systems that go with a container or at a reboot: f_type of statfs(2). */
const PASSING: ReadonlyMap<number, string> = new Map([
  [0x794c7630, 'overlay'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/**
 * Throws `precondition` when a pool would lie on a file system that goes away while the agent's
 * records stay: in a pod, whatever is not mounted from the host is the container's own, and gone
 * with it.
 */
export async function requirePermanence({ name, source }: PoolSpec, stateDir: string): Promise<void> {
  if (source.kind === 'devices') return;
  const path = source.kind === 'file' ? dirname(source.file) : source.path;
  const found = await readPassing(path);
  if (found === undefined || (await readPassing(stateDir)) !== undefined) return;
  throw new Fault(
    'precondition',
    `pool ${name}: ${path} is on ${found}, which does not survive a restart; use a path below ${stateDir}, or mount the directory into the agent's pod from its host`,
    { fields: { pool: name, path, filesystem: found } },
  );
}

/**
 * Name of the passing file system that the path, or the next directory above it that exists, is on;
 * undefined for one that stays.
 */
async function readPassing(path: string): Promise<string | undefined> {
  for (let place = path; ; place = dirname(place)) {
    try {
      return PASSING.get((await statfs(place)).type);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || place === '/') throw error;
    }
  }
}
