import { attachmentName } from '../../../src/core/network/attachment.ts';
import { HOST_LINK_PREFIX } from '../../../src/core/network/link-plan.ts';
import {
  confirmLeaks,
  findLeaks,
  NO_LEAKS,
  type NetworkLeaks,
} from '../../../src/core/network/network-leaks.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Attachments, Links } from '../attachments/attachments.ts';

export interface CollectorDeps {
  readonly attachments: Attachments;
  readonly links: Pick<Links, 'netnsId' | 'remove'> & { list(prefix: string): Promise<ReadonlySet<string>> };
  /** Containers of the runtime; undefined when it is unavailable. */
  readonly containers: () => Promise<ReadonlySet<string> | undefined>;
  /** Called with a link without an attachment, once it is removed. */
  readonly onLinkRemoved: (link: string) => void;
  readonly logger: Logger;
}

/**
 * Removes unused resources without waiting for the runtime: several released versions of containerd
 * skip DEL after a failed ADD (containerd#12923), and none sends GC.
 */
export class Collector {
  readonly #deps: CollectorDeps;
  #seen: NetworkLeaks = NO_LEAKS;

  constructor(deps: CollectorDeps) {
    this.#deps = deps;
  }

  /**
   * Runs one round; must be called while no attachment is being added or removed. Removes what this
   * and the previous round found.
   */
  async run(): Promise<void> {
    const leaks = await this.#look();
    const confirmed = confirmLeaks(this.#seen, leaks);
    this.#seen = leaks;
    const { attachments, links, logger, onLinkRemoved } = this.#deps;
    for (const attachment of attachments.list()) {
      if (!confirmed.attachments.has(attachmentName(attachment))) continue;
      await attachments.detach(attachment);
      const { containerId, ifname, addresses, pod } = attachment;
      logger.info({ containerId, ifname, addresses, pod }, 'collected an unused attachment');
    }
    for (const link of confirmed.links) {
      await links.remove(link);
      onLinkRemoved(link);
      logger.info({ link }, 'collected a link without an attachment');
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
