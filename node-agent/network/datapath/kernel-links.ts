import type { Kernel } from '../../linux/kernel/kernel.ts';
import { deleteLinks } from '../../linux/net/link-deletion.ts';
import { readNetnsId } from '../../linux/net/netns.ts';
import type { Links } from '../attachments/attachments.ts';
import { LinkReaper } from './link-reaper.ts';

/** Pod links in the kernel. Disposing waits until the kernel has finished all deletions. */
export interface KernelLinks extends Links, AsyncDisposable {
  /** Names of links with this prefix. */
  list(prefix: string): Promise<ReadonlySet<string>>;
}

/** Creates the kernel's side of pod links. */
export function createKernelLinks(kernel: Kernel): KernelLinks {
  const reaper = new LinkReaper({ has: (name) => kernel.call('hasLink', name), delete: deleteLinks });
  return {
    attach: (plan) => kernel.call('attachLink', plan),
    remove: (name) => reaper.remove(name),
    observe: (link) => kernel.call('observeLink', link),
    netnsId: readNetnsId,
    list: async (prefix) => new Set((await kernel.call('listLinks', prefix)).map(({ name }) => name)),
    [Symbol.asyncDispose]: () => reaper.settle(),
  };
}
