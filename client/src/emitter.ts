type Listener = (value: never) => void;

/**
 * An object with events, each of which carries one value.
 *
 * A listener that throws disturbs neither the library nor other listeners. Its error is reported as uncaught: by
 * `reportError` where there is one, as in browsers, else by a throw from a microtask. The latter ends a Node process
 * that has no `uncaughtException` handler, as an error in a listener of Node's own `EventTarget` does.
 */
export class Emitter<Events extends object> {
  /** The listeners of each event, and whether they are for one call only. */
  readonly #listeners = new Map<keyof Events, Map<Listener, boolean>>();

  /** Calls `listener` for each `event`. Returns a function that removes it. */
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    return this.#add(event, listener, false);
  }

  /** Calls `listener` for the next `event` only. */
  once<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    return this.#add(event, listener, this.#of(event).get(listener) ?? true);
  }

  /** Removes a listener, whether it was added by `on` or by `once`. */
  off<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): void {
    this.#of(event).delete(listener);
  }

  /** @internal True if somebody listens to `event`, or to any event if none is named. */
  listening(event?: keyof Events): boolean {
    return event === undefined
      ? [...this.#listeners.keys()].some((each) => this.listening(each))
      : this.#of(event).size > 0;
  }

  /** @internal */
  emit<E extends keyof Events>(event: E, value: Events[E]): void {
    // A copy, because a listener may add or remove listeners of the event, or make it happen again.
    for (const [listener, once] of [...this.#of(event)]) {
      if (once && !this.#of(event).delete(listener)) continue;
      try {
        (listener as (value: Events[E]) => void)(value);
      } catch (error) {
        report(error);
      }
    }
  }

  /** @internal Removes every listener. */
  clear(): void {
    this.#listeners.clear();
  }

  /** @internal Called when a listener was added. */
  listened(_event: keyof Events): void {}

  #add(event: keyof Events, listener: Listener, once: boolean): () => void {
    this.#of(event).set(listener, once);
    this.listened(event);
    return () => this.#of(event).delete(listener);
  }

  #of(event: keyof Events): Map<Listener, boolean> {
    let listeners = this.#listeners.get(event);
    if (!listeners) this.#listeners.set(event, (listeners = new Map()));
    return listeners;
  }
}

/** Reports an error as uncaught. */
export function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError) return reportError(error);
  queueMicrotask(() => {
    throw error;
  });
}
