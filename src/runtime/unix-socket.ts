import { chmod, mkdir, rename, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Fault } from '../core/fault.ts';

/** sun_path holds 108 bytes with its terminator (unix(7)). */
const MAX_PATH_BYTES = 107;

/**
 * Prepares `path` for listening: creates its directory (0700), and removes a stale socket. Throws
 * `invalid` when the path is too long for a socket, `conflict` when a process serves it.
 */
async function prepareSocketPath(path: string): Promise<void> {
  const length = Buffer.byteLength(path);
  if (length > MAX_PATH_BYTES) {
    throw new Fault(
      'invalid',
      `socket path ${path} has ${length} bytes; the maximum is ${MAX_PATH_BYTES}: choose a shorter directory`,
    );
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if (await isServed(path)) {
    throw new Fault(
      'conflict',
      `${path} is served by another process; stop it, or choose another directory`,
      {
        fields: { socket: path },
      },
    );
  }
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

/** Whether a process accepts connections at `path` now. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

/**
 * Serves `path` atomically: `listen` binds a temporary name beside it, which gets `mode` and then
 * its final name.
 */
export async function publishSocket(
  path: string,
  mode: number,
  listen: (temporaryPath: string) => Promise<void>,
): Promise<void> {
  await prepareSocketPath(path);
  const temporary = `${path}~`;
  await unlink(temporary).catch(() => undefined);
  await listen(temporary);
  await chmod(temporary, mode);
  await rename(temporary, path);
}
