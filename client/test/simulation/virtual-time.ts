/** Something that will run at a moment of simulated time. */
export interface Task {
  readonly at: number;
  readonly order: number;
  /** `undefined` once it has run or was cancelled. */
  run: (() => void) | undefined;
}

type Replaced = "setTimeout" | "clearTimeout";

/**
 * A clock that moves only from one task to the next, in place of the machine's clock and timers. Vitest's fake timers
 * look through every timer for the next one; a heap makes a simulated month affordable.
 */
export class VirtualTime {
  readonly #start: number;
  readonly #heap: Task[] = [];
  #now: number;
  #order = 0;

  /** `start`: Unix milliseconds. */
  constructor(start: number) {
    this.#start = this.#now = start;
  }

  /** Unix milliseconds. */
  get now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): Task {
    const task: Task = { at: this.#now + Math.max(0, ms), order: this.#order++, run };
    this.#push(task);
    return task;
  }

  /** Replaces the global clock and timers, and `Math.random` by `random`. Returns a function that puts them back. */
  install(random: () => number): () => void {
    const globals = globalThis as unknown as Record<Replaced, unknown>;
    const { setTimeout, clearTimeout } = globals;
    const { now: dateNow } = Date;
    const { random: mathRandom } = Math;
    const performanceNow = performance.now;
    // Node takes anything below a millisecond for one.
    globals.setTimeout = (run: () => void, ms = 0) => this.after(ms >= 1 ? ms : 1, run);
    globals.clearTimeout = (task: Task | undefined) => {
      if (task !== undefined) task.run = undefined;
    };
    Date.now = () => this.#now;
    performance.now = () => this.#now - this.#start;
    Math.random = random;
    return () => {
      Object.assign(globals, { setTimeout, clearTimeout });
      Date.now = dateNow;
      performance.now = performanceNow;
      Math.random = mathRandom;
    };
  }

  /** Runs everything that is due within `ms`, each task with all the promises that it settles. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      this.#pop();
      const { run } = next;
      if (run === undefined) continue;
      next.run = undefined;
      this.#now = next.at;
      run();
      await new Promise(setImmediate);
    }
    this.#now = until;
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, heap[parent] as Task)) break;
      heap[at] = heap[parent] as Task;
      at = parent;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child++;
      if (!isBefore(heap[child] as Task, last)) break;
      heap[at] = heap[child] as Task;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(one: Task, other: Task): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
