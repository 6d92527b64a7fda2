/** Lets everybody through until it is closed; then they wait until it is opened again. */
export class Gate {
  #inside = 0;
  #opened: PromiseWithResolvers<void> | undefined;
  #left: PromiseWithResolvers<void> | undefined;

  async pass(act: () => Promise<void>): Promise<void> {
    while (this.#opened) await this.#opened.promise;
    this.#inside++;
    try {
      await act();
    } finally {
      this.#inside--;
      if (this.#inside === 0) this.#left?.resolve();
    }
  }

  /** Resolves when those who were let in before are out again. */
  async close(): Promise<void> {
    this.#opened ??= Promise.withResolvers();
    this.#left = Promise.withResolvers();
    if (this.#inside > 0) await this.#left.promise;
  }

  open(): void {
    this.#opened?.resolve();
    this.#opened = undefined;
  }
}
