import type { Cidr } from '../../../src/core/network/cidr.ts';
import { leastMtu, parseMtu } from '../../../src/core/network/pod-mtu.ts';

const DEFAULT_MTU = 1500;

export interface PodMtuDeps {
  /** MTU of the link of the default route; undefined without one. */
  readonly readUplinkMtu: () => Promise<number | undefined>;
  readonly ranges: { readonly current: readonly Cidr[] };
}

/** The MTU of new pods: configured, or that of the uplink. */
export class PodMtu {
  readonly #fixed: number | undefined;
  readonly #deps: PodMtuDeps;
  #current: number;

  /** Throws `invalid` for an MTU that the families of the ranges do not allow. */
  constructor(mtu: 'auto' | number, deps: PodMtuDeps) {
    this.#fixed = parseMtu(mtu, deps.ranges.current);
    this.#deps = deps;
    this.#current = this.#fixed ?? DEFAULT_MTU;
  }

  get current(): number {
    return this.#current;
  }

  /** Reads the uplink's MTU again. */
  async refresh(): Promise<void> {
    const found = this.#fixed ?? (await this.#deps.readUplinkMtu()) ?? DEFAULT_MTU;
    this.#current = Math.max(found, leastMtu(this.#deps.ranges.current));
  }
}
