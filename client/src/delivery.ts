import { asyncDispose } from "./disposal.js";
import type { RoomcastError } from "./errors.js";

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** An iterator over messages. `return()`, which leaving a `for await` loop calls, or `await using` ends it. */
export type MessageIterator<T> = AsyncIterableIterator<T> & {
  return(): Promise<IteratorResult<T>>;
  [Symbol.asyncDispose](): Promise<void>;
};

interface Reader<T> {
  queue: T[];
  /** Calls of `next()` that wait for a message. */
  waiting: ((result: Result<T> | Promise<Result<T>>) => void)[];
  /** The error that ended the iterator, until somebody has been told. */
  error?: RoomcastError | undefined;
}

type Result<T> = IteratorResult<T, undefined>;

interface DeliveryPorts<T> {
  /** True if there are `message` listeners. */
  listening(): boolean;
  /** Calls the listeners. */
  emit(message: T): void;
  /** Tells of another value of `full`. */
  stalled(full: boolean): void;
  /** Tells that there is room again, after `full` was true. */
  drained(): void;
}

/**
 * Hands a room's messages to its listeners and iterators.
 *
 * Messages wait in the queue of each iterator. While there is neither listener nor iterator they wait in a backlog,
 * which the first to come receives: nothing is lost between `await room.join()` and the loop that reads. When `limit`
 * messages wait, `full` tells the room to stop. It continues from the log when half of them have been read. In a room
 * with state nothing waits without a reader, because the map must go on.
 */
export class Delivery<T> {
  /** True while the application must read before more is delivered. */
  full = false;
  /** True if messages that come while nobody reads are kept for the first reader. */
  #keeps = true;
  readonly #limit: number;
  readonly #ports: DeliveryPorts<T>;
  readonly #readers = new Set<Reader<T>>();
  /** Messages that nobody has been given yet, in order. */
  #backlog: T[] = [];
  #dispatching = false;

  constructor(limit: number, ports: DeliveryPorts<T>) {
    this.#limit = limit;
    this.#ports = ports;
  }

  /** True if there is an iterator, or something waits to be read. */
  get used(): boolean {
    return this.#readers.size + this.#backlog.length > 0;
  }

  /** The first message that somebody has not been given. */
  get firstUnread(): T | undefined {
    return this.#longest[0] ?? this.#backlog[0];
  }

  /** Number of messages that the slowest reader has before it. */
  get waiting(): number {
    return this.#longest.length + this.#backlog.length;
  }

  /** Drops messages that nobody reads, from now on. */
  keepNothing(): void {
    this.#keeps = false;
    this.#flush();
  }

  push(messages: readonly T[]): void {
    // A loop, because a call with all of them as arguments could have too many.
    for (const message of messages) this.#backlog.push(message);
    this.#flush();
  }

  /** Gives the backlog to a new listener, once the caller has had the time to add all its listeners. */
  listenerAdded(): void {
    queueMicrotask(() => this.#flush());
  }

  /** A new iterator over the messages from here on. */
  read(): MessageIterator<T> {
    const reader: Reader<T> = { queue: [], waiting: [] };
    const first = !this.consumed;
    this.#readers.add(reader);
    if (first) this.#flush();
    const end = async () => {
      this.#release(reader);
      return END;
    };
    const iterator: MessageIterator<T> = {
      next: () => this.#next(reader),
      return: end,
      [Symbol.asyncIterator]: () => iterator,
      [asyncDispose]: async () => {
        await end();
      },
    };
    return iterator;
  }

  /** Ends every iterator immediately, with `error` if there is one, and forgets unread messages. */
  end(error: RoomcastError | undefined): void {
    const readers = [...this.#readers];
    this.#readers.clear();
    this.#backlog = [];
    this.#keeps = true;
    for (const reader of readers) endReader(reader, error);
    this.#checkFull();
  }

  /** True if there is a listener or an iterator. */
  get consumed(): boolean {
    return this.#readers.size > 0 || this.#ports.listening();
  }

  /** The longest queue, which begins with the oldest message: all queues end with the same one. */
  get #longest(): T[] {
    return [...this.#readers].reduce<T[]>(
      (longest, { queue }) => (queue.length > longest.length ? queue : longest),
      [],
    );
  }

  /**
   * Hands over the backlog one message at a time, because a listener may leave the room, be there for one message only,
   * or make more messages come.
   */
  #flush(): void {
    if (!this.#dispatching) {
      this.#dispatching = true;
      while (this.#backlog.length > 0 && this.consumed) {
        const value = this.#backlog.shift() as T;
        for (const { waiting, queue } of this.#readers) {
          const next = waiting.shift();
          if (next) next({ done: false, value });
          else queue.push(value);
        }
        this.#ports.emit(value);
      }
      this.#dispatching = false;
      if (!this.#keeps) this.#backlog = [];
    }
    this.#checkFull();
  }

  async #next(reader: Reader<T>): Promise<Result<T>> {
    const value = reader.queue.shift();
    if (value !== undefined) {
      this.#checkFull();
      return { done: false, value };
    }
    return this.#readers.has(reader) ? new Promise((resolve) => reader.waiting.push(resolve)) : outcome(reader);
  }

  /** Ends a loop. Messages that the only loop has not read go back to the backlog, for the next loop. */
  #release(reader: Reader<T>): void {
    if (this.#readers.delete(reader) && !this.consumed && this.#keeps)
      this.#backlog = [...reader.queue, ...this.#backlog];
    endReader(reader, undefined);
    this.#checkFull();
  }

  #checkFull(): void {
    const full = this.waiting >= this.#limit || (this.full && this.waiting > this.#limit / 2);
    if (full === this.full) return;
    this.full = full;
    this.#ports.stalled(full);
    if (!full) this.#ports.drained();
  }
}

function endReader<T>(reader: Reader<T>, error: RoomcastError | undefined): void {
  reader.error = error;
  reader.queue = [];
  for (const next of reader.waiting.splice(0)) next(outcome(reader));
}

/** The end of an iterator: its error the first time, then the plain end, as with the language's own iterators. */
async function outcome<T>(reader: Reader<T>): Promise<Result<T>> {
  const { error } = reader;
  reader.error = undefined;
  if (error) throw error;
  return END;
}
