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
 * Checks the quotas of btrfs. Classic quotas can become inconsistent (many snapshots, old tools),
 * which disables limits. A rescan in the background repairs them; the pool has a problem until it
 * ends.
 */
export class QuotaCheck {
  readonly #options: QuotaCheckOptions;
  readonly #deps: { readonly kernel: Kernel; readonly logger: Logger };

  constructor(options: QuotaCheckOptions, deps: { readonly kernel: Kernel; readonly logger: Logger }) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Returns why quotas are not enforced; undefined if they are. Starts a rescan if that helps. */
  async check(): Promise<string | undefined> {
    const { name, path, root, fsUuid } = this.#options;
    const { kernel, logger } = this.#deps;
    const state = await kernel.call('readQuotaState', fsUuid);
    if (state === undefined) {
      return `quotas are disabled on pool ${name} (${path}): sizes are not enforced; restart the agent`;
    }
    if (!state.inconsistent) return undefined;
    const started = await kernel.call('startQuotaRescan', root);
    if (started) logger.warn({ pool: name }, 'quotas are inconsistent; started a rescan');
    return `quotas of pool ${name} are inconsistent and being rescanned: sizes are not enforced until the rescan ends`;
  }
}
