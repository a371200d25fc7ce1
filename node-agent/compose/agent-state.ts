import { Fault } from '../../src/core/fault.ts';
import type { Network } from '../network/network.ts';
import type { Storage } from '../storage/open-storage.ts';

/** What the parts of an agent know of each other's state while they start and run. */
export class AgentState {
  /** Undefined while it is being opened. */
  network: Network | undefined;
  /** Undefined until the pools were opened once. */
  storage: Storage | undefined;
  /** Why CSI is not served; undefined when it is. */
  storageFault: Fault | undefined = new Fault('unavailable', 'the pools are being opened');

  /** Why the node cannot serve volumes or pods; undefined when it can. */
  notServing(): Fault | undefined {
    return this.storageFault ?? this.#networkFault();
  }

  /** Rejects while the storage cannot serve: one failed pool does not affect the others. */
  async checkStorage(): Promise<void> {
    if (this.storageFault !== undefined) throw this.storageFault;
    const pools = (await this.storage?.health.report())?.pools ?? [];
    const failed = pools.find(({ problem }) => problem !== undefined);
    if (failed === undefined || pools.some(({ problem }) => problem === undefined)) return;
    throw new Fault('precondition', `pool ${failed.name}: ${failed.problem ?? ''}`);
  }

  #networkFault(): Fault | undefined {
    try {
      if (this.network === undefined) return new Fault('unavailable', 'the network is being opened');
      this.network.status();
      return undefined;
    } catch (error) {
      return Fault.from(error);
    }
  }
}
