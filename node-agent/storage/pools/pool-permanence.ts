import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';

/** File systems that do not outlive their container or a reboot, by f_type of statfs(2). */
const TEMPORARY: ReadonlyMap<number, string> = new Map([
  [0x794c7630, 'overlay'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/**
 * Throws `precondition` for a pool on a file system that is removed while the agent's records stay:
 * in a pod, a path that is not mounted from the host belongs to the container.
 */
export async function requirePermanence({ name, source }: PoolSpec, stateDir: string): Promise<void> {
  if (source.kind === 'devices') return;
  const path = source.kind === 'file' ? dirname(source.file) : source.path;
  const found = await readTemporary(path);
  if (found === undefined || (await readTemporary(stateDir)) !== undefined) return;
  throw new Fault(
    'precondition',
    `pool ${name}: ${path} is on ${found}, which does not survive a restart; use a path below ${stateDir}, or mount the directory into the agent's pod from its host`,
    { fields: { pool: name, path, filesystem: found } },
  );
}

/**
 * Returns the name of the temporary file system of `path`, or of its nearest existing parent;
 * undefined for a permanent one.
 */
async function readTemporary(path: string): Promise<string | undefined> {
  for (let place = path; ; place = dirname(place)) {
    try {
      return TEMPORARY.get((await statfs(place)).type);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || place === '/') throw error;
    }
  }
}
