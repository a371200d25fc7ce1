import type { Attachment } from '../../../src/core/network/attachment.ts';
import { type Cidr, formatCidr } from '../../../src/core/network/cidr.ts';
import { canonicalListing } from '../../../src/core/network/nft-listing.ts';
import {
  NETWORK_TABLE,
  renderHostPorts,
  renderNetworkTable,
  renderTableRemoval,
} from '../../../src/core/network/nft-network.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';

/** The firewall's interface to nftables. */
interface Nft {
  apply(script: string): Promise<void>;
  /** Undefined when the table does not exist. */
  list(family: string, name: string): Promise<unknown>;
}

export interface FirewallOptions {
  readonly ranges: readonly Cidr[];
  readonly exclusions: readonly Cidr[];
}

export interface FirewallDeps {
  readonly nft: Nft;
  readonly logger: Logger;
  /** The attachments whose host ports the table holds. */
  readonly attachments: () => Iterable<Attachment>;
}

/**
 * Owns the network's table: written as a whole at start, by element per pod, and as a whole when
 * another program has changed it.
 */
export class Firewall {
  #options: FirewallOptions;
  readonly #deps: FirewallDeps;
  readonly #lock = new KeyedLock<'table'>();
  /** Listing of the desired table; undefined until the last change was read back. */
  #right: string | undefined;

  constructor(options: FirewallOptions, deps: FirewallDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Sets other ranges and exclusions; does nothing when they are equal. */
  async configure(options: FirewallOptions): Promise<void> {
    const text = ({ ranges, exclusions }: FirewallOptions): string =>
      [ranges, exclusions].map((cidrs) => cidrs.map(formatCidr).join()).join(';');
    await this.#lock.run('table', async () => {
      if (text(options) === text(this.#options)) return;
      const former = this.#options;
      this.#options = options;
      try {
        await this.#applyWhole();
      } catch (error) {
        // A repeated call must not consider them applied.
        this.#options = former;
        throw error;
      }
    });
  }

  /** Replaces the whole table in one transaction. */
  async apply(): Promise<void> {
    await this.#lock.run('table', () => this.#applyWhole());
  }

  /** Restores the table if it was changed or flushed; resolves to true when it was intact. */
  async verify(): Promise<boolean> {
    return await this.#lock.run('table', async () => {
      const found = await this.#read();
      if (this.#right !== undefined && found === this.#right) return false;
      const tampered = this.#right !== undefined || found === undefined;
      if (tampered)
        this.#deps.logger.warn(
          { table: NETWORK_TABLE.name },
          'firewall table was changed by another program; restoring it',
        );
      await this.#applyWhole();
      this.#right = await this.#read();
      return tampered;
    });
  }

  /** Opens the attachment's host ports. `attachments` includes it already. */
  async open(attachment: Attachment): Promise<void> {
    await this.#change(renderHostPorts('add', attachment));
  }

  /** Closes them. `attachments` no longer includes it. */
  async close(attachment: Attachment): Promise<void> {
    await this.#change(renderHostPorts('delete', attachment));
  }

  async remove(): Promise<void> {
    await this.#lock.run('table', () => this.#deps.nft.apply(renderTableRemoval()));
  }

  async #change(script: string): Promise<void> {
    if (script === '') return;
    await this.#lock.run('table', async () => {
      this.#right = undefined;
      try {
        await this.#deps.nft.apply(script);
      } catch (error) {
        // The table was flushed, or an element existed or was absent already: the whole table is
        // correct in any case.
        this.#deps.logger.debug({ err: error }, 'element change failed; applying the whole table');
        await this.#applyWhole();
      }
    });
  }

  async #applyWhole(): Promise<void> {
    this.#right = undefined;
    await this.#deps.nft.apply(
      renderNetworkTable({ ...this.#options, attachments: this.#deps.attachments() }),
    );
  }

  async #read(): Promise<string | undefined> {
    const listing = await this.#deps.nft.list(NETWORK_TABLE.family, NETWORK_TABLE.name);
    return listing === undefined ? undefined : canonicalListing(listing);
  }
}
