/**
 * Work of which one run serves all callers that arrive before it begins, and that never runs
 * concurrently. A caller during a run gets the next one: the current run may have read its input
 * already.
 */
export class SharedRun<T> {
  readonly #work: () => Promise<T>;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  /** Resolves to the result of a run that begins after this call. */
  async run(): Promise<T> {
    this.#next ??= this.#after(this.#running);
    return await this.#next;
  }

  async #after(running: Promise<unknown>): Promise<T> {
    await running;
    this.#next = undefined;
    const run = this.#work();
    // A failure is reported to its own callers; later ones only wait for the end.
    this.#running = run.catch(() => undefined);
    return await run;
  }
}
