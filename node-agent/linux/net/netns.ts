import { closeSync, openSync, statfsSync, statSync } from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import { checked, libc } from '../libc/libc.ts';

const CLONE_NEWNET = 0x40000000;
const NSFS_MAGIC = 0x6e736673;
const OWN_NETNS = '/proc/thread-self/ns/net';

/** An open network namespace. Disposing closes it. */
export interface NetnsHandle extends Disposable {
  readonly fd: number;
}

let home: number | undefined;

/**
 * Opens the network namespace at `path`. Throws `not-found` if the path is absent or not a network
 * namespace, `precondition` for the agent's own, which must not be configured as a pod's.
 */
export function openNetns(path: string): NetnsHandle {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new Fault('not-found', `network namespace ${path} does not exist`, {
      fields: { netns: path },
      cause: error,
    });
  }
  try {
    if (statfsSync(`/proc/thread-self/fd/${fd}`).type !== NSFS_MAGIC) {
      throw new Fault('not-found', `${path} is not a network namespace`, { fields: { netns: path } });
    }
    const [opened, own] = [statSync(`/proc/thread-self/fd/${fd}`), statSync(OWN_NETNS)];
    if (opened.ino === own.ino && opened.dev === own.dev) {
      throw new Fault('precondition', `${path} is the network namespace of the agent itself`, {
        fields: { netns: path, ownNetns: true },
      });
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/**
 * Runs `work` with this thread in another namespace. `work` is synchronous and starts no thread or
 * process, which would stay in that namespace. Aborts the process if the thread cannot return.
 */
export function withNetns<T>({ fd }: NetnsHandle, work: () => T): T {
  home ??= openSync(OWN_NETNS, 'r');
  checked(libc.setns(fd, CLONE_NEWNET) as number, 'setns');
  try {
    return work();
  } finally {
    if ((libc.setns(home, CLONE_NEWNET) as number) !== 0) libc.abort();
  }
}

/** Returns the identity of the namespace at `path`; undefined for an absent one. */
export async function readNetnsId(path: string): Promise<string | undefined> {
  try {
    if ((await statfs(path)).type !== NSFS_MAGIC) return undefined;
    const { dev, ino } = await stat(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
