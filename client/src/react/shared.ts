/**
 * Work that runs for as long as it has users: `start` begins it for the first, and the function that it returned ends
 * it after the last. The end comes in the next task, because StrictMode, a new key or a hidden tree lets users go and
 * come back within one, and no room shall be left and joined again for that.
 */
export class Shared {
  readonly #start: () => () => void;
  #users = 0;
  #stop: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(start: () => () => void) {
    this.#start = start;
  }

  /** Adds a user. Returns a function that removes it. */
  use(): () => void {
    clearTimeout(this.#timer);
    this.#users++;
    this.#stop ??= this.#start();
    let using = true;
    return () => {
      if (!using) return;
      using = false;
      this.#users--;
      if (this.#users === 0) this.#timer = setTimeout(() => this.#end(), 0);
    };
  }

  #end(): void {
    const stop = this.#stop;
    this.#stop = undefined;
    stop?.();
  }
}

/**
 * A value that changes and its listeners, as `useSyncExternalStore` wants it. It is watched only while somebody
 * listens.
 */
export class Watched {
  readonly #listeners = new Set<() => void>();
  readonly #shared: Shared;

  constructor(watch: () => () => void) {
    this.#shared = new Shared(watch);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    // A function of its own for each call, because React may subscribe the same one twice.
    const own = () => listener();
    this.#listeners.add(own);
    const release = this.#shared.use();
    return () => {
      this.#listeners.delete(own);
      release();
    };
  };

  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
