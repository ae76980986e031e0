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
  /** Why, as long as nobody has been told. */
  error?: RoomcastError | undefined;
}

type Result<T> = IteratorResult<T, undefined>;

interface DeliveryPorts<T> {
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
 * messages wait, `full` tells the room to stop; it continues from the log when half of them have been read. In a room with state
 * nothing waits without a reader: the map goes on.
 */
export class Delivery<T> {
  /** Whether the application must read before more is delivered. */
  full = false;
  /** Whether messages that nobody reads wait for somebody. */
  #keeps = true;
  readonly #limit: number;
  readonly #ports: DeliveryPorts<T>;
  readonly #readers = new Set<Reader<T>>();
  /** What nobody has been given yet, in order. */
  #backlog: T[] = [];
  #dispatching = false;

  constructor(limit: number, ports: DeliveryPorts<T>) {
    this.#limit = limit;
    this.#ports = ports;
  }

  /** Whether anybody reads, or something waits to be read. */
  get used(): boolean {
    return this.#readers.size + this.#backlog.length > 0;
  }

  /** The first message that not everybody has been given. */
  get firstUnread(): T | undefined {
    return this.#longest[0] ?? this.#backlog[0];
  }

  /** How many messages the slowest reader has before it. */
  get waiting(): number {
    return this.#longest.length + this.#backlog.length;
  }

  /** From now on what nobody reads is let go. */
  keepNothing(): void {
    this.#keeps = false;
    this.#flush();
  }

  push(messages: readonly T[]): void {
    // Not by spreading: a call takes only so many arguments.
    for (const message of messages) this.#backlog.push(message);
    this.#flush();
  }

  /** A listener was added: it gets the backlog, but not before the caller has added all its listeners. */
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

  /** Ends every iterator at once, with `error` if there is one, and forgets what was not read. */
  end(error: RoomcastError | undefined): void {
    const readers = [...this.#readers];
    this.#readers.clear();
    this.#backlog = [];
    this.#keeps = true;
    for (const reader of readers) endReader(reader, error);
    this.#checkFull();
  }

  /** Whether somebody reads. */
  get consumed(): boolean {
    return this.#readers.size > 0 || this.#ports.listening();
  }

  /** All queues end with the same message, so the longest one begins with the oldest. */
  get #longest(): T[] {
    return [...this.#readers].reduce<T[]>(
      (longest, { queue }) => (queue.length > longest.length ? queue : longest),
      [],
    );
  }

  /**
   * Hands over the backlog, one message at a time: while a listener runs, the room may be left, a listener for one message only
   * may go, and more messages may be pushed.
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

  /** Ends a loop. What the only one has not read goes back to the backlog, for the next loop. */
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

/** An error is reported once; after it the iterator is simply at its end, as the language's iterators are. */
async function outcome<T>(reader: Reader<T>): Promise<Result<T>> {
  const { error } = reader;
  reader.error = undefined;
  if (error) throw error;
  return END;
}
