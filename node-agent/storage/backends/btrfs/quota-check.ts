import type { Logger } from '../../../../src/runtime/logger.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';

export interface QuotaCheckOptions {
  readonly name: string;
  readonly path: string;
  /** The pool's open root directory. */
  readonly root: number;
  readonly fsUuid: string;
}

/**
 * Whether btrfs counts right. Classic quotas can become inconsistent, by much snapshotting or by an
 * old tool: limits do not hold then. A rescan counts anew, in the background and as long as it
 * takes; until it has ended the pool says so.
 */
export class QuotaCheck {
  readonly #options: QuotaCheckOptions;
  readonly #deps: { readonly kernel: Kernel; readonly logger: Logger };

  constructor(options: QuotaCheckOptions, deps: { readonly kernel: Kernel; readonly logger: Logger }) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Undefined when all is well, else why not. Starts the repair where one is possible. */
  async check(): Promise<string | undefined> {
    const { name, path, root, fsUuid } = this.#options;
    const { kernel, logger } = this.#deps;
    const state = await kernel.call('readQuotaState', fsUuid);
    if (state === undefined) {
      return `quotas are off on pool ${name} (${path}): sizes are not enforced; restart the agent`;
    }
    if (!state.inconsistent) return undefined;
    const started = await kernel.call('startQuotaRescan', root);
    if (started) logger.warn({ pool: name }, 'quotas are inconsistent; counting again');
    return `quotas of pool ${name} are inconsistent, and are being counted again: sizes are not enforced until that has ended`;
  }
}
