import type { Attachment } from '../../src/core/network/attachment.ts';
import { type Cidr, formatCidr } from '../../src/core/network/cidr.ts';
import { canonicalListing } from '../../src/core/network/nft-listing.ts';
import {
  NETWORK_TABLE,
  renderHostPorts,
  renderNetworkTable,
  renderTableRemoval,
} from '../../src/core/network/nft-network.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../src/runtime/logger.ts';

/** What the firewall needs of nftables. */
export interface Nft {
  apply(script: string): Promise<void>;
  /** Undefined when there is no such table. */
  list(family: string, name: string): Promise<unknown>;
}

export interface FirewallOptions {
  readonly ranges: readonly Cidr[];
  readonly exclusions: readonly Cidr[];
}

export interface FirewallDeps {
  readonly nft: Nft;
  readonly logger: Logger;
  /** The living attachments, whose host ports the table holds. */
  readonly attachments: () => Iterable<Attachment>;
}

/** Owns the network's table: whole at start, by element per pod, and whole again when somebody else has changed it. */
export class Firewall {
  #options: FirewallOptions;
  readonly #deps: FirewallDeps;
  readonly #lock = new KeyedLock<'table'>();
  /** How the table looks when it is right; undefined when our own last change has not been looked at yet. */
  #right: string | undefined;

  constructor(options: FirewallOptions, deps: FirewallDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Other ranges and exclusions from now on; a no-op when they are the same. */
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
        // Asked again, it must not take them for what is in force.
        this.#options = former;
        throw error;
      }
    });
  }

  /** Replaces the whole table by what it should be, in one transaction. */
  async apply(): Promise<void> {
    await this.#lock.run('table', () => this.#applyWhole());
  }

  /** Makes the table right again if somebody has changed or flushed it; true when it had been. */
  async verify(): Promise<boolean> {
    return await this.#lock.run('table', async () => {
      const found = await this.#read();
      if (this.#right !== undefined && found === this.#right) return false;
      const tampered = this.#right !== undefined || found === undefined;
      if (tampered)
        this.#deps.logger.warn(
          { table: NETWORK_TABLE.name },
          'firewall table was changed by others, making it anew',
        );
      await this.#applyWhole();
      this.#right = await this.#read();
      return tampered;
    });
  }

  /** Opens the attachment's host ports. `attachments` names it already. */
  async open(attachment: Attachment): Promise<void> {
    await this.#change(renderHostPorts('add', attachment));
  }

  /** Closes them. `attachments` no longer names it. */
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
        // Flushed, or an element was there or gone already: the whole table is right whatever was there.
        this.#deps.logger.debug({ err: error }, 'element change refused, applying the whole table');
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
