/**
 * Runs something for as long as it has users: `start` for the first of them, what it returned when the last has gone. Not at once
 * then, but in the next task: StrictMode, a new key or a hidden tree lets users go and come back within one, and nothing shall
 * be left and joined again for that.
 */
export class Shared {
  readonly #start: () => () => void;
  #users = 0;
  #stop: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(start: () => () => void) {
    this.#start = start;
  }

  /** Adds a user; returns a function that removes it. */
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

/** What changes and who wants to know, as `useSyncExternalStore` wants it; watched only while somebody does. */
export class Watched {
  readonly #listeners = new Set<() => void>();
  readonly #shared: Shared;

  constructor(watch: () => () => void) {
    this.#shared = new Shared(watch);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    // An own function for each call: React may subscribe the same one twice.
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
