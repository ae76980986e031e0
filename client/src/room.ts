import { Delivery } from "./delivery.js";
import { Emitter } from "./emitter.js";
import { RoomcastError } from "./errors.js";
import { isRoomId, MAX_HISTORY_LIMIT } from "./limits.js";
import { type Message, messageOf } from "./message.js";
import { type Accepted, sendFrame, SendLine, type SendOptions, sendTimeout } from "./send.js";
import type { Session } from "./session.js";
import { type Gap, type Recovery, Subscription, type Truncation } from "./subscription.js";
import { within } from "./timing.js";

/**
 * - `left`: not joined.
 * - `joining`: `join()` was called, the server has not confirmed it.
 * - `joined`: every message of the log reaches the application.
 * - `recovering`: the connection was lost or messages are missing; they will follow, in their order.
 */
export type RoomState = "left" | "joining" | "joined" | "recovering";

export interface RoomEvents<T = unknown> {
  /** The next message of the log. */
  message: Message<T>;
  /** The server has the room joined; `rejoined` after a lost connection. `seq` is the head of the log. */
  joined: { seq: number; rejoined: boolean };
  /** The room was left, by `leave()`, by `close()`, or because of `error`. */
  left: { error?: RoomcastError };
  /** Retention has dropped messages before the application could have them. */
  truncated: Truncation;
  /** Messages are missing and are being read from the log. */
  gap: Gap;
  /** What was missing has been delivered. */
  recovered: Recovery;
  /** The server refuses the room; it is left. */
  error: RoomcastError;
  state: { state: RoomState; previous: RoomState };
}

export interface JoinOptions {
  /**
   * The last `seq` that the application has: everything after it is delivered. 0: everything that the log retains.
   * Default: only what is sent from now on.
   */
  after?: number;
}

export interface HistoryOptions {
  /** Only messages with a smaller `seq`. Default: the newest. */
  before?: number;
  /** At most so many, up to 100. Default 50. */
  limit?: number;
}

export interface HistoryPage<T = unknown> {
  /** In the order of the log. */
  messages: Message<T>[];
  /** There are older ones: ask with `before` set to the first `seq` of this page. */
  more: boolean;
}

/** A room. Get one from `Roomcast.room()`. */
export class Room<T = unknown> implements AsyncIterable<Message<T>> {
  readonly id: string;
  readonly #session: Session;
  readonly #events = new Emitter<RoomEvents<T>>();
  readonly #delivery: Delivery<Message<T>>;
  readonly #line = new SendLine();
  #state: RoomState = "left";
  #subscription: Subscription | undefined;
  #joining: Promise<{ seq: number }> | undefined;
  #position: number | undefined;

  /** @internal */
  constructor(id: string, session: Session) {
    if (!isRoomId(id)) throw new RoomcastError("bad_request", "a room id is 1 to 100 characters of A-Z a-z 0-9 _ - . :");
    this.id = id;
    this.#session = session;
    this.#delivery = new Delivery<Message<T>>(session.settings.bufferSize, {
      listening: () => this.#events.has("message"),
      emit: (message) => this.#events.emit("message", message),
      drained: () => this.#subscription?.onDrained(),
    });
  }

  get state(): RoomState {
    return this.#state;
  }

  /** Everything up to this `seq` was delivered or waits to be read. Kept after `leave()`, to join again with `after`. */
  get seq(): number | undefined {
    return this.#subscription?.position ?? this.#position;
  }

  /**
   * Joins the room; resolves with the head of its log. From there on, or from `after` on, the application sees the log as it
   * is: nothing missing, nothing twice, in order. The room stays joined through lost connections until it is left.
   *
   * Messages that arrive before there is an iterator or a `message` listener wait for the first one.
   */
  async join(options: JoinOptions = {}): Promise<{ seq: number }> {
    const { after } = options;
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0)) {
      throw new RoomcastError("bad_request", "after must be a seq, or 0", { roomId: this.id });
    }
    this.#session.assertOpen();
    if (this.#joining === undefined) return (this.#joining = this.#join(after));
    if (after === undefined) return this.#joining;
    throw new RoomcastError("bad_request", "the room is joined already: leave it to join with `after`", { roomId: this.id });
  }

  /** Leaves the room: iterators end at once; resolves when the server has confirmed it. */
  async leave(): Promise<void> {
    const subscription = this.#subscription;
    if (subscription === undefined) return;
    this.#end(subscription, new RoomcastError("left", "the room was left", { roomId: this.id }));
    const { operationTimeoutMs } = this.#session.settings;
    const late = () => new RoomcastError("timeout", "the server did not confirm that the room is left", { roomId: this.id });
    await within(this.#session.remove(subscription), operationTimeoutMs, late);
  }

  /**
   * Sends a message; resolves when the server has accepted it. It need not be joined. The library retries through errors
   * that pass and lost connections, always with the same id, so the message is logged once.
   *
   * Messages of one room are logged in the order of these calls, unless they are `unordered`. `data` is any JSON value; with
   * everything around it, it may have 32 KiB.
   */
  async send(data: unknown, options: SendOptions = {}): Promise<Accepted> {
    const frame = sendFrame(this.id, data, options);
    const timeoutMs = sendTimeout(options, this.#session.settings.sendTimeoutMs);
    // Taken now: a message that waits in line ends with this connection, even if the client connects anew meanwhile.
    const cancellation = this.#session.assertOpen();
    const send = (ms: number) => this.#session.request(frame, "accepted", ms, cancellation);
    const { roomId, id } = await (options.unordered === true ? send(timeoutMs) : this.#line.add(send, timeoutMs));
    return { roomId, id };
  }

  /** Reads the log backwards, a page at a time. The room need not be joined. */
  async history(options: HistoryOptions = {}): Promise<HistoryPage<T>> {
    const { before, limit } = options;
    if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_HISTORY_LIMIT)) {
      throw new RoomcastError("bad_request", `limit must be from 1 to ${MAX_HISTORY_LIMIT}`, { roomId: this.id });
    }
    if (before !== undefined && !(Number.isSafeInteger(before) && before >= 0)) {
      throw new RoomcastError("bad_request", "before must be a seq", { roomId: this.id });
    }
    const frame = {
      action: "getHistory",
      roomId: this.id,
      ...(before !== undefined && { before }),
      ...(limit !== undefined && { limit }),
    } as const;
    const reply = await this.#session.request(frame, "history", this.#session.settings.operationTimeoutMs);
    return { messages: reply.messages.map((message) => messageOf<T>(this.id, message, true)), more: reply.more };
  }

  /** Calls `listener` for each `event`; returns a function that stops it. */
  on<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): () => void {
    const stop = this.#events.on(event, listener);
    if (event === "message") this.#delivery.listenerAdded();
    return stop;
  }

  /** Calls `listener` for the next `event` only. */
  once<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): () => void {
    const stop = this.#events.once(event, listener);
    if (event === "message") this.#delivery.listenerAdded();
    return stop;
  }

  off<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): void {
    this.#events.off(event, listener);
  }

  /**
   * The messages from here on, until the room is left; throws if the server ends it. The room goes at the pace of its slowest
   * iterator: when `bufferSize` messages wait to be read, the library stops fetching and later continues from the log, so
   * memory is bounded and nothing is lost. An iterator that will not be read to its end must be ended with `return()`, which
   * leaving a `for await` loop does.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>> {
    return this.#delivery.read();
  }

  async #join(after: number | undefined): Promise<{ seq: number }> {
    const { settings } = this.#session;
    const subscription = this.#subscribe(after);
    this.#setState("joining");
    this.#session.add(subscription);
    const ms = settings.operationTimeoutMs;
    const late = () => new RoomcastError("timeout", `the room was not joined within ${ms} ms`, { roomId: this.id });
    try {
      return { seq: await within(subscription.joined, ms, late) };
    } catch (thrown) {
      const error = thrown as RoomcastError;
      this.#end(subscription, error);
      // The server may have joined the room although its reply was lost.
      this.#session.remove(subscription).catch(() => {});
      throw error;
    }
  }

  #subscribe(after: number | undefined): Subscription {
    const subscription = new Subscription(
      this.id,
      after,
      {
        deliver: (messages) => {
          this.#delivery.push(messages.map(({ message, recovered }) => messageOf<T>(this.id, message, recovered)));
        },
        full: () => this.#delivery.full,
        sync: (asking) => this.#session.sync(asking),
        joined: (seq, rejoined) => {
          if (!rejoined) this.#setState("joined");
          this.#events.emit("joined", { seq, rejoined });
        },
        truncated: (truncation) => this.#events.emit("truncated", truncation),
        gap: (gap) => this.#events.emit("gap", gap),
        recovering: () => this.#setState("recovering"),
        recovered: (recovery) => {
          this.#setState("joined");
          this.#events.emit("recovered", recovery);
        },
        failed: (error) => this.#failed(subscription, error),
      },
      this.#session.settings,
    );
    this.#subscription = subscription;
    return subscription;
  }

  /** The server has refused the room, or the client was closed. */
  #failed(subscription: Subscription, error: RoomcastError): void {
    const closed = error.code === "closed";
    this.#end(subscription, error);
    if (!closed) this.#events.emit("error", error);
    this.#session.remove(subscription).catch(() => {});
  }

  #end(subscription: Subscription, reason: RoomcastError): void {
    if (this.#subscription !== subscription) return;
    subscription.stop(reason);
    this.#position = subscription.position ?? this.#position;
    this.#subscription = this.#joining = undefined;
    const wanted = reason.code === "left" || reason.code === "closed";
    this.#delivery.end(wanted ? undefined : reason);
    this.#setState("left");
    this.#events.emit("left", wanted ? {} : { error: reason });
  }

  #setState(state: RoomState): void {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#events.emit("state", { state, previous });
  }
}
