import { attachmentName } from '../../src/core/network/attachment.ts';
import { HOST_LINK_PREFIX } from '../../src/core/network/link-plan.ts';
import {
  confirmLeaks,
  findLeaks,
  NO_LEAKS,
  type NetworkLeaks,
} from '../../src/core/network/network-leaks.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Attachments, Links } from './attachments.ts';

export interface CollectorDeps {
  readonly attachments: Attachments;
  readonly links: Pick<Links, 'netnsId' | 'remove'> & { list(prefix: string): Promise<ReadonlySet<string>> };
  /** Containers that the runtime knows; undefined when it cannot be asked now. */
  readonly containers: () => Promise<ReadonlySet<string> | undefined>;
  /** Told of a link that had no attachment, once it is removed. */
  readonly onLinkRemoved: (link: string) => void;
  readonly logger: Logger;
}

/**
 * Removes what nobody uses, without waiting for a runtime to ask: several released versions of containerd skip DEL after a failed
 * ADD (containerd#12923), and none sends GC.
 */
export class Collector {
  readonly #deps: CollectorDeps;
  #seen: NetworkLeaks = NO_LEAKS;

  constructor(deps: CollectorDeps) {
    this.#deps = deps;
  }

  /** One round; call it while no attachment is being made or removed. Removes what this and the previous round both saw. */
  async run(): Promise<void> {
    const leaks = await this.#look();
    const confirmed = confirmLeaks(this.#seen, leaks);
    this.#seen = leaks;
    const { attachments, links, logger, onLinkRemoved } = this.#deps;
    for (const attachment of attachments.list()) {
      if (!confirmed.attachments.has(attachmentName(attachment))) continue;
      await attachments.detach(attachment);
      const { containerId, ifname, addresses, pod } = attachment;
      logger.info({ containerId, ifname, addresses, pod }, 'collected an attachment that nobody uses');
    }
    for (const link of confirmed.links) {
      await links.remove(link);
      onLinkRemoved(link);
      logger.info({ link }, 'collected a link without attachment');
    }
  }

  async #look(): Promise<NetworkLeaks> {
    const { attachments, links, containers } = this.#deps;
    const list = attachments.list();
    const withoutNetns = new Set<string>();
    for (const attachment of list) {
      if ((await links.netnsId(attachment.netns)) !== attachment.netnsId) {
        withoutNetns.add(attachmentName(attachment));
      }
    }
    return findLeaks({
      attachments: list,
      links: await links.list(HOST_LINK_PREFIX),
      withoutNetns,
      containers: await containers(),
    });
  }
}
