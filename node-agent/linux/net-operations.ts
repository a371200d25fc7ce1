import { readlinkSync } from 'node:fs';

/** The network namespace of the worker's own thread, as `net:[inode]`. */
export function currentNetns(): string {
  return readlinkSync('/proc/thread-self/ns/net');
}
