/** The operations that run now, so that what they use can be taken away when they have ended. */
export class Operations {
  readonly #running = new Set<Promise<unknown>>();

  /** Runs `work` as one of them. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Resolves when all that run at the moment of the call have ended; later ones are not waited for. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running]);
  }
}
