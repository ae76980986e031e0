/**
 * Tells any number of waiters, once, that they wait in vain. An `AbortController` without its events: Node warns of a leak
 * when more than ten wait on one signal, and here hundreds of calls may.
 */
export class Cancellation {
  #reason: unknown;
  readonly #callbacks = new Set<(reason: unknown) => void>();

  /** Why; `undefined` as long as there is no reason. */
  get reason(): unknown {
    return this.#reason;
  }

  /** The first reason stays. */
  cancel(reason: unknown): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const callbacks = [...this.#callbacks];
    this.#callbacks.clear();
    for (const callback of callbacks) callback(reason);
  }

  /** Calls back once, at once if it is cancelled already; returns a function that forgets the callback. */
  onCancel(callback: (reason: unknown) => void): () => void {
    if (this.#reason !== undefined) {
      callback(this.#reason);
      return () => {};
    }
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  throwIfCancelled(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }
}
