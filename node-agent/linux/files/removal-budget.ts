/**
 * How much of what was discarded one run may remove, so that freeing a large volume does not stall
 * the pods of its pool.
 */
export class RemovalBudget {
  #leftBytes: bigint;
  #hasPostponed = false;

  constructor(mostBytes: bigint) {
    this.#leftBytes = mostBytes;
  }

  /** What may still be removed; may be less than nothing, for what cannot be removed in parts. */
  get leftBytes(): bigint {
    return this.#leftBytes;
  }

  get isSpent(): boolean {
    return this.#leftBytes <= 0n;
  }

  /** Whether something was left for the next run. */
  get hasPostponed(): boolean {
    return this.#hasPostponed;
  }

  spend(bytes: bigint): void {
    this.#leftBytes -= bytes;
  }

  postpone(): void {
    this.#hasPostponed = true;
  }
}

/** For who waits for it. */
export function unlimitedRemoval(): RemovalBudget {
  return new RemovalBudget(1n << 80n);
}
