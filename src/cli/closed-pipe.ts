import type { EventEmitter } from 'node:events';

/**
 * Ignores that the reader of `stream` closed its end, as `head` does: the command completes its
 * clean-up, and its exit code is the one of its work. Calls `onFailure` with other errors, such as
 * ENOSPC.
 */
export function ignoreClosedPipe(
  stream: Pick<EventEmitter, 'on'>,
  onFailure: (error: NodeJS.ErrnoException) => void,
): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') onFailure(error);
  });
}
