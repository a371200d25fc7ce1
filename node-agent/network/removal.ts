import { join } from 'node:path';
import { HOST_LINK_PREFIX } from '../../src/core/network/link-plan.ts';
import { startKernel } from '../linux/kernel/kernel.ts';
import { deleteLinks } from '../linux/net/link-deletion.ts';
import { applyNft, listNftTable } from '../linux/net/nft.ts';
import { Firewall } from './datapath/firewall.ts';
import type { NetworkDeps, NetworkOptions } from './network.ts';
import { AttachmentStore } from './attachments/attachment-store.ts';

/**
 * Removes the network from the node: links, routes, the firewall table and the records. Pods lose
 * their network.
 */
export async function removeNetwork(
  { stateDir }: Pick<NetworkOptions, 'stateDir'>,
  { logger }: Pick<NetworkDeps, 'logger'>,
): Promise<void> {
  await using kernel = startKernel({ name: 'keelson-net' });
  const links = await kernel.call('listLinks', HOST_LINK_PREFIX);
  await deleteLinks(links.map(({ name }) => name));
  await kernel.call('removeRangeRoutes');
  const { present } = await kernel.call('readPeerRoutes');
  await kernel.call('changePeerRoutes', { add: [], remove: present });
  const nft = { apply: applyNft, list: listNftTable };
  await new Firewall({ ranges: [], exclusions: [] }, { nft, logger, attachments: () => [] }).remove();
  await AttachmentStore.erase(join(stateDir, 'network'));
}
