import { Fault } from '../../src/core/fault.ts';
import type { InventoryFacts, SourceProblem } from '../../src/core/inventory/inventory.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';

/** Reads some of the facts; `last` is the previous result. */
export interface InventorySource {
  readonly name: string;
  /**
   * The facts that it is responsible for: they are kept when it fails, and removed when it omits
   * them.
   */
  readonly fields: readonly (keyof InventoryFacts)[];
  /** Its last result is valid for this long; 0: read every time. */
  readonly everyMs: number;
  read(last: InventoryFacts): Promise<InventoryFacts>;
}

export interface Collected {
  readonly facts: InventoryFacts;
  readonly problems: readonly SourceProblem[];
}

/** Reads all sources, and keeps the last result of one that fails. */
export class InventoryCollector {
  readonly #sources: readonly InventorySource[];
  readonly #clock: Clock;
  readonly #readAtMs = new Map<string, number>();
  #facts: InventoryFacts = {};

  constructor(sources: readonly InventorySource[], { clock = systemClock }: { readonly clock?: Clock } = {}) {
    this.#sources = sources;
    this.#clock = clock;
  }

  /** `published` replaces what a source has not read yet in this process. */
  async collect(published: InventoryFacts = {}): Promise<Collected> {
    const problems: SourceProblem[] = [];
    for (const source of this.#sources) {
      const nowMs = this.#clock.monotonicMs();
      const readAtMs = this.#readAtMs.get(source.name);
      if (readAtMs !== undefined && nowMs - readAtMs < source.everyMs) continue;
      const last = readAtMs === undefined ? published : this.#facts;
      try {
        this.#keep(source, await source.read(last));
        this.#readAtMs.set(source.name, nowMs);
      } catch (error) {
        this.#keep(source, last);
        problems.push({ source: source.name, message: Fault.from(error).message });
      }
    }
    return { facts: this.#facts, problems };
  }

  #keep({ fields }: InventorySource, from: InventoryFacts): void {
    const own = Object.fromEntries(fields.map((field) => [field, from[field]]));
    this.#facts = { ...this.#facts, ...own };
  }
}
