import type { EventEmitter } from 'node:events';

/**
 * Ignores that the reader of `stream` closed its end, as `head` does: the command completes its
 * clean-up, and its exit code is the one of its work. Rethrows other errors.
 */
export function ignoreClosedPipe(stream: Pick<EventEmitter, 'on'>): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
