/** Runs a sync for all who ask before it begins: a burst of operations costs one or two. */
export class SharedSync {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves after a sync that began after this call. */
  async run(): Promise<void> {
    this.#next ??= this.#after(this.#running);
    await this.#next;
  }

  async #after(running: Promise<void> | undefined): Promise<void> {
    await running?.catch(() => undefined);
    const sync = this.#work();
    this.#running = sync;
    this.#next = undefined;
    await sync;
  }
}
