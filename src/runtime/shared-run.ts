/**
 * Work of which one run serves all who ask before it begins, and that never runs twice at the same time. Whoever asks while it runs gets the
 * next run: this one may have looked already.
 */
export class SharedRun<T> {
  readonly #work: () => Promise<T>;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  /** The result of a run that begins after this call. */
  async run(): Promise<T> {
    this.#next ??= this.#after(this.#running);
    return await this.#next;
  }

  async #after(running: Promise<unknown>): Promise<T> {
    await running;
    this.#next = undefined;
    const run = this.#work();
    // Who asked is told of a failure; who comes next only waits for the end.
    this.#running = run.catch(() => undefined);
    return await run;
  }
}
