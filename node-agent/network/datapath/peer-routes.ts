import { type Cidr, formatCidr } from '../../../src/core/network/cidr.ts';
import {
  type Peer,
  type PeerRouteFacts,
  type PeerRoutePlan,
  planPeerRoutes,
} from '../../../src/core/network/peer-routes.ts';
import type { Logger } from '../../../src/runtime/logger.ts';

/** The interface to the kernel's routes. */
export interface PeerRouteTable {
  read(): Promise<Pick<PeerRouteFacts, 'addresses' | 'present'>>;
  change(plan: Pick<PeerRoutePlan, 'add' | 'remove'>): Promise<void>;
}

export interface PeerRoutesDeps {
  readonly table: PeerRouteTable;
  readonly logger: Logger;
  /** Called when `problems` changes. */
  readonly onProblems?: () => void;
}

/**
 * Keeps this node's routes to the pods of other nodes. Reads the kernel's table each time, so that
 * removed routes are restored.
 */
export class PeerRoutes {
  readonly #deps: PeerRoutesDeps;
  #wanted: { readonly peers: readonly Peer[]; readonly ranges: readonly Cidr[] } | undefined;
  #problems: readonly string[] = [];

  constructor(deps: PeerRoutesDeps) {
    this.#deps = deps;
  }

  /** Ranges without a route at the last check, and why; one per line. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Sets what `ensure` installs from now on; before the first call it changes nothing. */
  set(wanted: { readonly peers: readonly Peer[]; readonly ranges: readonly Cidr[] }): void {
    this.#wanted = wanted;
  }

  /** Installs missing routes and removes wrong ones. Calls must not overlap. */
  async ensure(): Promise<void> {
    if (this.#wanted === undefined) return;
    const { table, logger, onProblems } = this.#deps;
    const { add, remove, problems } = planPeerRoutes({ ...this.#wanted, ...(await table.read()) });
    for (const problem of problems) {
      if (!this.#problems.includes(problem)) logger.warn({ problem }, 'no route to pods of another node');
    }
    const others = problems.join('\n') !== this.#problems.join('\n');
    this.#problems = problems;
    if (others) onProblems?.();
    if (add.length + remove.length === 0) return;
    await table.change({ add, remove });
    logger.info(
      {
        added: add.map(({ destination, gateway }) => `${formatCidr(destination)} via ${gateway}`),
        removed: remove.map(({ destination }) => formatCidr(destination)),
      },
      'routes to other nodes changed',
    );
  }
}
