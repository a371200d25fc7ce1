/** Limits how many bytes one run may remove, so that freeing a large volume does not stall pods. */
export class RemovalBudget {
  #leftBytes: bigint;
  #hasPostponed = false;

  constructor(mostBytes: bigint) {
    this.#leftBytes = mostBytes;
  }

  /** Remaining bytes; negative after an item that cannot be removed in parts. */
  get leftBytes(): bigint {
    return this.#leftBytes;
  }

  get isSpent(): boolean {
    return this.#leftBytes <= 0n;
  }

  /** Whether an item was left for the next run. */
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

/** Returns a budget without a limit. */
export function unlimitedRemoval(): RemovalBudget {
  return new RemovalBudget(1n << 80n);
}
