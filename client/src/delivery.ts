import { asyncDispose } from "./disposal.js";
import type { RoomcastError } from "./errors.js";

const END: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

/** An iterator over messages. `return()`, which leaving a `for await` loop calls, or `await using` ends it. */
export type MessageIterator<T> = AsyncIterableIterator<T> & { return(): Promise<IteratorResult<T>>; [Symbol.asyncDispose](): Promise<void> };

interface Reader<T> {
  queue: T[];
  /** Calls of `next()` that wait for a message. */
  waiting: { resolve(result: IteratorResult<T, undefined>): void; reject(error: unknown): void }[];
  /** No message comes any more. */
  ended: { error: RoomcastError | undefined } | undefined;
}

export interface DeliveryPorts<T> {
  /** Whether there are `message` listeners. */
  listening(): boolean;
  /** Calls them. */
  emit(message: T): void;
  /** `full` has changed to this. */
  stalled(full: boolean): void;
  /** There is room again, after `full` was true. */
  drained(): void;
}

/**
 * Hands a room's messages to its listeners and iterators.
 *
 * Messages wait: in the queue of each iterator, and, as long as there is neither listener nor iterator, in a backlog that
 * the first to come receives, so that nothing is lost between `await room.join()` and the loop that reads. When `limit`
 * messages wait, `full` tells the room to stop; it continues from the log when half of them have been read.
 */
export class Delivery<T> {
  readonly #limit: number;
  readonly #ports: DeliveryPorts<T>;
  readonly #readers = new Set<Reader<T>>();
  /** What nobody has been given yet, in order. */
  #backlog: T[] = [];
  #dispatching = false;
  #flushQueued = false;
  #full = false;

  constructor(limit: number, ports: DeliveryPorts<T>) {
    this.#limit = limit;
    this.#ports = ports;
  }

  /** Whether the application must read before more is delivered. */
  get full(): boolean {
    return this.#full;
  }

  /** Whether anybody reads, or something waits to be read. */
  get used(): boolean {
    return this.#readers.size > 0 || this.#backlog.length > 0;
  }

  /** The first message that not everybody has been given. */
  get firstUnread(): T | undefined {
    const queues = [...this.#readers].map(({ queue }) => queue);
    // All queues end with the same message, so the longest one begins with the oldest.
    return [...queues.sort((a, b) => b.length - a.length), this.#backlog].find((queue) => queue.length > 0)?.[0];
  }

  /** How many messages the slowest reader has before it. */
  get waiting(): number {
    let longest = 0;
    for (const { queue } of this.#readers) longest = Math.max(longest, queue.length);
    return longest + this.#backlog.length;
  }

  push(messages: readonly T[]): void {
    // Not by spreading: a call takes only so many arguments.
    for (const message of messages) this.#backlog.push(message);
    this.#dispatch();
    this.#checkFull();
  }

  /** A listener was added: it gets the backlog, but not before the caller has added all its listeners. */
  listenerAdded(): void {
    if (this.#backlog.length === 0 || this.#flushQueued) return;
    this.#flushQueued = true;
    queueMicrotask(() => {
      this.#flushQueued = false;
      this.#dispatch();
      this.#checkFull();
    });
  }

  /** A new iterator over the messages from here on. */
  read(): MessageIterator<T> {
    const reader: Reader<T> = { queue: [], waiting: [], ended: undefined };
    const first = !this.#consumed;
    this.#readers.add(reader);
    if (first) this.#dispatch();
    this.#checkFull();
    const end = () => {
      this.#release(reader);
      return Promise.resolve(END);
    };
    const iterator: MessageIterator<T> = {
      next: () => this.#next(reader),
      return: end,
      [Symbol.asyncIterator]: () => iterator,
      [asyncDispose]: () => end().then(() => {}),
    };
    return iterator;
  }

  /** Ends every iterator at once, with `error` if there is one, and forgets what was not read. */
  end(error: RoomcastError | undefined): void {
    for (const reader of this.#readers) {
      const [first, ...others] = reader.waiting;
      reader.waiting = [];
      reader.queue = [];
      // An error is reported once; after it the iterator is simply at its end, as the language's iterators are.
      if (first === undefined) reader.ended = { error };
      else if (error === undefined) first.resolve(END);
      else first.reject(error);
      for (const { resolve } of others) resolve(END);
      reader.ended ??= { error: undefined };
    }
    this.#readers.clear();
    this.#backlog = [];
    if (!this.#full) return;
    this.#full = false;
    this.#ports.stalled(false);
  }

  get #consumed(): boolean {
    return this.#readers.size > 0 || this.#ports.listening();
  }

  /**
   * Hands over the backlog, one message at a time: while a listener runs, the room may be left, a listener for one message only
   * may go, and more messages may be pushed.
   */
  #dispatch(): void {
    if (this.#dispatching) return;
    this.#dispatching = true;
    while (this.#consumed) {
      const message = this.#backlog.shift();
      if (message === undefined) break;
      for (const reader of this.#readers) {
        const next = reader.waiting.shift();
        if (next === undefined) reader.queue.push(message);
        else next.resolve({ done: false, value: message });
      }
      this.#ports.emit(message);
    }
    this.#dispatching = false;
  }

  #next(reader: Reader<T>): Promise<IteratorResult<T, undefined>> {
    const message = reader.queue.shift();
    if (message !== undefined) {
      this.#checkFull();
      return Promise.resolve({ done: false, value: message });
    }
    if (reader.ended !== undefined) {
      const { error } = reader.ended;
      reader.ended = { error: undefined };
      return error === undefined ? Promise.resolve(END) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => reader.waiting.push({ resolve, reject }));
  }

  /** Ends a loop. What the only one has not read goes back to the backlog, for the next loop. */
  #release(reader: Reader<T>): void {
    for (const { resolve } of reader.waiting) resolve(END);
    reader.waiting = [];
    if (reader.ended === undefined && this.#readers.delete(reader) && !this.#consumed) {
      this.#backlog = [...reader.queue, ...this.#backlog];
    }
    reader.queue = [];
    reader.ended ??= { error: undefined };
    this.#checkFull();
  }

  #checkFull(): void {
    const { waiting } = this;
    if (!this.#full && waiting >= this.#limit) {
      this.#full = true;
      this.#ports.stalled(true);
    } else if (this.#full && waiting <= this.#limit / 2) {
      this.#full = false;
      this.#ports.stalled(false);
      this.#ports.drained();
    }
  }
}
