/**
 * Tells any number of waiters, once, that they wait in vain. An `AbortController` without its events: Node warns of a leak
 * when more than ten wait on one signal, and here hundreds of calls may.
 */
export class Cancellation {
  /** Why; `undefined` as long as it is not cancelled. Set by `cancel` only. */
  reason: unknown;
  readonly #callbacks = new Set<(reason: unknown) => void>();

  /** The first reason stays. */
  cancel(reason: unknown): void {
    this.reason ??= reason;
    for (const callback of this.#callbacks) {
      this.#callbacks.delete(callback);
      callback(this.reason);
    }
  }

  /** Calls back once, at once if it is cancelled already; returns a function that forgets the callback. */
  onCancel(callback: (reason: unknown) => void): () => void {
    this.#callbacks.add(callback);
    if (this.reason !== undefined) this.cancel(this.reason);
    return () => this.#callbacks.delete(callback);
  }

  throwIfCancelled(): void {
    if (this.reason !== undefined) throw this.reason;
  }
}

/**
 * Does `work` with a cancellation of its own, which follows `parent`. `arm` says what else cancels it, and returns a function that
 * ends that.
 */
export async function cancellable<T>(
  parent: Cancellation | undefined,
  arm: (own: Cancellation) => () => void,
  work: (own: Cancellation) => Promise<T>,
): Promise<T> {
  const own = new Cancellation();
  const forget = parent?.onCancel((reason) => own.cancel(reason));
  const disarm = arm(own);
  try {
    return await work(own);
  } finally {
    forget?.();
    disarm();
  }
}

/** `promise`, or a rejection with the reason if it is cancelled first. */
export function unlessCancelled<T>(promise: Promise<T>, cancellation: Cancellation): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = cancellation.onCancel(reject);
    promise.then(resolve, reject).finally(forget);
  });
}
