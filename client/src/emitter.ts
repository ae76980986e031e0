/**
 * A typed event emitter. Each event carries one value.
 *
 * A listener that throws disturbs neither the library nor other listeners: its error is reported as uncaught, as that of any
 * event handler is: browsers have `reportError` for it; elsewhere it is thrown from a microtask, which ends a Node process that
 * has no `uncaughtException` handler, as an error in a listener of Node's own `EventTarget` does.
 */
export class Emitter<Events extends object> {
  /** The listeners of each event, and whether they are for one call only. */
  readonly #listeners = new Map<keyof Events, Map<(value: never) => void, boolean>>();

  /** Whether anybody listens to anything. */
  get used(): boolean {
    return [...this.#listeners.values()].some((listeners) => listeners.size > 0);
  }

  /** Calls `listener` for each `event` from now on; returns a function that stops it. */
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    return this.#add(event, listener, false);
  }

  /** Calls `listener` for the next `event` only. */
  once<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    return this.#add(event, listener, this.#listeners.get(event)?.get(listener) ?? true);
  }

  off<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): void {
    this.#listeners.get(event)?.delete(listener);
  }

  clear(): void {
    this.#listeners.clear();
  }

  has(event: keyof Events): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  emit<E extends keyof Events>(event: E, value: Events[E]): void {
    const listeners = this.#listeners.get(event);
    if (listeners === undefined) return;
    // A copy: a listener may add or remove listeners of the same event.
    for (const [listener, once] of [...listeners]) {
      if (once) listeners.delete(listener);
      try {
        (listener as (value: Events[E]) => void)(value);
      } catch (error) {
        report(error);
      }
    }
  }

  #add<E extends keyof Events>(event: E, listener: (value: Events[E]) => void, once: boolean): () => void {
    let listeners = this.#listeners.get(event);
    if (listeners === undefined) this.#listeners.set(event, (listeners = new Map()));
    listeners.set(listener, once);
    return () => this.off(event, listener);
  }
}

function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError !== undefined) return reportError(error);
  queueMicrotask(() => {
    throw error;
  });
}
