import type { RoomcastError } from "./errors.js";

const END: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

interface Reader<T> {
  queue: T[];
  /** Calls of `next()` that wait for a message. */
  waiting: { resolve(result: IteratorResult<T, undefined>): void; reject(error: unknown): void }[];
  /** No message comes any more; what is queued can still be read. */
  ended: { error: RoomcastError | undefined } | undefined;
}

export interface DeliveryPorts<T> {
  /** Whether there are `message` listeners. */
  listening(): boolean;
  /** Calls them. */
  emit(message: T): void;
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
  #backlog: T[] = [];
  #flushing = false;
  #full = false;

  constructor(limit: number, ports: DeliveryPorts<T>) {
    this.#limit = limit;
    this.#ports = ports;
  }

  /** Whether the application must read before more is delivered. */
  get full(): boolean {
    return this.#full;
  }

  push(messages: readonly T[]): void {
    for (const message of messages) {
      if (this.#backlog.length > 0 || !this.#consumed) this.#backlog.push(message);
      else this.#dispatch(message);
    }
    this.#full ||= this.#longest >= this.#limit;
  }

  /** A listener was added: it gets the backlog, but not before the caller has added all its listeners. */
  listenerAdded(): void {
    if (this.#backlog.length === 0 || this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  /** A new iterator over the messages from here on. */
  read(): AsyncIterableIterator<T> {
    const reader: Reader<T> = { queue: [], waiting: [], ended: undefined };
    this.#readers.add(reader);
    this.#flush();
    const iterator: AsyncIterableIterator<T> = {
      next: () => this.#next(reader),
      return: () => {
        this.#release(reader);
        return Promise.resolve(END);
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /** Ends every iterator once it has been read to its end, with `error` if there is one, and forgets the backlog. */
  end(error: RoomcastError | undefined): void {
    for (const reader of this.#readers) {
      const [first, ...others] = reader.waiting;
      reader.waiting = [];
      // An error is reported once; after it the iterator is simply at its end, as the language's iterators are.
      if (first === undefined) reader.ended = { error };
      else if (error === undefined) first.resolve(END);
      else first.reject(error);
      for (const { resolve } of others) resolve(END);
      reader.ended ??= { error: undefined };
    }
    this.#readers.clear();
    this.#backlog = [];
    this.#full = false;
  }

  get #consumed(): boolean {
    return this.#readers.size > 0 || this.#ports.listening();
  }

  get #longest(): number {
    let longest = this.#backlog.length;
    for (const { queue } of this.#readers) longest = Math.max(longest, queue.length);
    return longest;
  }

  #dispatch(message: T): void {
    for (const reader of this.#readers) {
      const next = reader.waiting.shift();
      if (next === undefined) reader.queue.push(message);
      else next.resolve({ done: false, value: message });
    }
    this.#ports.emit(message);
  }

  #flush(): void {
    // Asked each time: a listener may be for one message only.
    while (this.#consumed) {
      const message = this.#backlog.shift();
      if (message === undefined) break;
      this.#dispatch(message);
    }
    this.#checkDrained();
  }

  #next(reader: Reader<T>): Promise<IteratorResult<T, undefined>> {
    const message = reader.queue.shift();
    if (message !== undefined) {
      this.#checkDrained();
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
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (!this.#full || this.#longest > this.#limit / 2) return;
    this.#full = false;
    this.#ports.drained();
  }
}
