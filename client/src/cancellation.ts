/**
 * The end of a wait, told to any number of waiters. It is no `AbortController`, because Node warns of a leak when more
 * than ten listeners wait on one signal, and here hundreds of calls may.
 */
export class Cancellation {
  /** The reason, which `cancel` sets; `undefined` before. */
  reason: unknown;
  readonly #callbacks = new Set<(reason: unknown) => void>();

  /** Calls every waiter back. A second call changes nothing: the first reason stays. */
  cancel(reason: unknown): void {
    this.reason ??= reason;
    for (const callback of this.#callbacks) {
      this.#callbacks.delete(callback);
      callback(this.reason);
    }
  }

  /** Calls back once, and immediately if it is cancelled already. Returns a function that forgets the callback. */
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
 * Does `work` with a cancellation of its own, which follows `parent`. `arm` adds another cause, such as a timer, and
 * returns a function that takes it away.
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

/** The promise's outcome, or a rejection with the reason if the cancellation comes first. */
export function unlessCancelled<T>(promise: Promise<T>, cancellation: Cancellation): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = cancellation.onCancel(reject);
    promise.then(resolve, reject).finally(forget);
  });
}
