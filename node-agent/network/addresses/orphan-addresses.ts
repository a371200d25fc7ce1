import type { AddressAllocator } from '../../../src/core/network/ipam.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { Attachments } from '../attachments/attachments.ts';

/**
 * Reserves addresses that the node routes to pods without a record (it was lost or corrupt), until
 * their link is removed. Returns them by link.
 */
export async function reserveOrphans(
  kernel: Kernel,
  attachments: Attachments,
  allocator: AddressAllocator,
  logger: Logger,
): Promise<Map<string, string[]>> {
  const recorded = new Set(attachments.list().flatMap(({ addresses }) => addresses));
  const orphans = new Map<string, string[]>();
  for (const { address, link } of await kernel.call('listPodRoutes')) {
    if (recorded.has(address)) continue;
    allocator.restore(address);
    orphans.set(link, [...(orphans.get(link) ?? []), address]);
  }
  if (orphans.size > 0) logger.warn({ links: [...orphans.keys()] }, 'found links without a record');
  return orphans;
}
