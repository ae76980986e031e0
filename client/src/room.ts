import { type CallOptions, unlessAborted } from "./abort.js";
import { Delivery, type MessageIterator } from "./delivery.js";
import { asyncDispose } from "./disposal.js";
import { Emitter } from "./emitter.js";
import { about, checkWhole, describe, type ErrorCode, type ErrorDetails, RoomcastError } from "./errors.js";
import type { LoggedMessage } from "./frames.js";
import { isRoomId, MAX_HISTORY_LIMIT, MAX_SEND_TIMEOUT_MS } from "./limits.js";
import { loggable } from "./logger.js";
import { type Message, messageOf } from "./message.js";
import { type Accepted, sendFrame, SendLine, type SendOptions } from "./send.js";
import type { Session } from "./session.js";
import { type Gap, type Recovery, Subscription, type Truncation } from "./subscription.js";
import { quiet, within } from "./timing.js";

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
  /** Messages were dropped by retention before the application could have them, or perhaps. */
  truncated: Truncation;
  /** Messages are missing and are being read from the log. */
  gap: Gap;
  /** What was missing has been delivered. */
  recovered: Recovery;
  /**
   * `bufferSize` messages wait to be read, so nothing more is delivered, to nobody, until half of them are; or (`false`) that has
   * passed. Somebody does not read: often a forgotten iterator.
   */
  stalled: { stalled: boolean; waiting: number };
  /** The server refuses the room, and it is left; or a message's data failed `parse` (`bad_data`), and it was skipped. */
  error: RoomcastError;
  state: { state: RoomState; previous: RoomState };
}

export interface RoomOptions<T> {
  /**
   * Checks the data of a message that comes in, from the room or its history, and returns it with its type. If it throws, the
   * message is skipped and reported as `error` with the code `bad_data`.
   */
  parse?: (data: unknown) => T;
}

export interface JoinOptions extends CallOptions {
  /**
   * The last `seq` that the application has: everything after it is delivered. 0: everything that the log retains.
   * Default: only what is sent from now on.
   */
  after?: number;
}

export interface HistoryOptions extends CallOptions {
  /** Only messages with a smaller `seq`. Default: the newest. */
  before?: number;
  /** At most so many, up to 100. Default 50. Fewer may come, because a page has about 32 KiB: `more` tells whether there are older ones. */
  limit?: number;
}

export interface HistoryPage<T = unknown> {
  /** In the order of the log. */
  messages: Message<T>[];
  /** There are older ones: ask with `before` set to the first `seq` of this page. */
  more: boolean;
}

/** What a room needs of its client. */
export interface RoomPorts {
  /** The application uses the room: it must stay the room with this id. */
  used(): void;
  /** The application has no more use for it. */
  released(): void;
}

const WARNED: ReadonlySet<string> = new Set(["truncated", "stalled", "error"]);

/** A room. Get one from `Roomcast.room()`. */
export class Room<T = unknown> implements AsyncIterable<Message<T>> {
  readonly id: string;
  readonly #session: Session;
  readonly #ports: RoomPorts;
  readonly #events = new Emitter<RoomEvents<T>>();
  readonly #delivery: Delivery<Message<T>>;
  readonly #line = new SendLine();
  #parse: ((data: unknown) => T) | undefined;
  #state: RoomState = "left";
  #subscription: Subscription | undefined;
  /** `connect()` has brought the room back, and nobody has called `join()` since. */
  #resumed = false;
  /** Where it is to go on when the client connects again; `undefined`: it is not to. */
  #resumeAt: { after: number | undefined; emptyAt: number | undefined } | undefined;
  #position: number | undefined;
  #released = false;

  /** @internal */
  constructor(id: string, session: Session, ports: RoomPorts) {
    if (!isRoomId(id)) throw new RoomcastError("bad_request", "a room id is 1 to 100 characters of A-Z a-z 0-9 _ - . :");
    this.id = id;
    this.#session = session;
    this.#ports = ports;
    this.#delivery = new Delivery<Message<T>>(session.settings.bufferSize, {
      listening: () => this.#events.has("message"),
      emit: (message) => this.#events.emit("message", message),
      stalled: (stalled) => this.#onStalled(stalled),
      drained: () => this.#subscription?.onDrained(),
    });
  }

  get state(): RoomState {
    return this.#state;
  }

  /**
   * Everything up to this `seq` was handed over, to every listener and iterator. `undefined` until the room is joined; kept after
   * `leave()`, to join again with `after`.
   */
  get seq(): number | undefined {
    const unread = this.#delivery.firstUnread;
    if (unread !== undefined) return unread.seq - 1;
    return this.#subscription?.position ?? this.#position;
  }

  /** Whether delivery has stopped until the application reads: see the event of this name. */
  get stalled(): boolean {
    return this.#delivery.full;
  }

  /**
   * Joins the room; resolves with the head of its log. From there on, or from `after` on, the application sees the log as it
   * is: nothing missing, nothing twice, in order. The room stays joined through lost connections until it is left.
   *
   * Rejects with the reason when the server refuses. Rejects with `timeout` after `operationTimeoutMs`: the library goes on
   * trying, and a `joined` event tells when it succeeds; `leave()` ends that. A rejection that nobody handles is not reported
   * as unhandled, since events tell the same.
   *
   * For a room that is joined it resolves with the head of its first join; `seq` is where it is now.
   *
   * Messages that arrive before there is an iterator or a `message` listener wait for the first one.
   */
  join(options: JoinOptions = {}): Promise<{ seq: number }> {
    return quiet(unlessAborted(options.signal, () => this.#join(options.after)));
  }

  /** Leaves the room: iterators end at once; resolves when the server has confirmed it, or the room is joined again. */
  leave(options: CallOptions = {}): Promise<void> {
    return quiet(unlessAborted(options.signal, () => this.#leave()));
  }

  /**
   * Sends a message; resolves when the server has accepted it. It need not be joined. The library retries through errors
   * that pass and lost connections, always with the same id, so the message is logged once.
   *
   * Messages of one room are logged in the order of these calls, unless they are `unordered`: each waits for the reply to the
   * one before, a round trip each. A stack that sends through the event bus (`INGEST_SINK=eventbridge`) keeps no order.
   * `data` is any JSON value; with everything around it, it may have 32 KiB.
   */
  async send(data: T, options: SendOptions = {}): Promise<Accepted> {
    const frame = sendFrame(this.id, data, options);
    const { timeoutMs = this.#session.settings.sendTimeoutMs } = options;
    checkWhole("timeoutMs", timeoutMs, 1, MAX_SEND_TIMEOUT_MS, this.id);
    // Taken now: a message that waits in line ends with this connection, even if the client connects anew meanwhile.
    const closed = this.#session.assertOpen();
    const sent = unlessAborted(
      options.signal,
      (cancellation) => {
        const send = (ms: number) => this.#session.request(frame, "accepted", ms, cancellation);
        return options.unordered === true ? send(timeoutMs) : this.#line.add(send, timeoutMs);
      },
      closed,
    );
    try {
      const { roomId, id } = await sent;
      return { roomId, id };
    } catch (thrown) {
      throw thrown instanceof RoomcastError ? about(thrown, { roomId: this.id, messageId: frame.id }) : thrown;
    }
  }

  /** Reads the log backwards, a page at a time. The room need not be joined. Messages that fail `parse` are left out. */
  async history(options: HistoryOptions = {}): Promise<HistoryPage<T>> {
    const { before, limit, signal } = options;
    checkWhole("limit", limit, 1, MAX_HISTORY_LIMIT, this.id);
    checkWhole("before", before, 1, Number.MAX_SAFE_INTEGER, this.id);
    const frame = {
      action: "getHistory",
      roomId: this.id,
      ...(before !== undefined && { before }),
      ...(limit !== undefined && { limit }),
    } as const;
    const { operationTimeoutMs } = this.#session.settings;
    const reply = await unlessAborted(
      signal,
      (cancellation) => this.#session.request(frame, "history", operationTimeoutMs, cancellation),
      this.#session.assertOpen(),
    );
    return { messages: this.#parsed(reply.messages.map((message) => ({ message, recovered: true }))), more: reply.more };
  }

  /** Leaves the room, removes its listeners and lets the client forget it; it cannot be joined any more. */
  release(): Promise<void> {
    const left = this.leave();
    this.#released = true;
    this.#events.clear();
    this.#ports.released();
    return left;
  }

  /** `release()`, for `await using`. */
  [asyncDispose](): Promise<void> {
    return this.release();
  }

  /** Calls `listener` for each `event`; returns a function that stops it. */
  on<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): () => void {
    return this.#listening(event, this.#events.on(event, listener));
  }

  /** Calls `listener` for the next `event` only. */
  once<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): () => void {
    return this.#listening(event, this.#events.once(event, listener));
  }

  /** Removes a listener, whether it was added by `on` or by `once`. */
  off<E extends keyof RoomEvents<T>>(event: E, listener: (value: RoomEvents<T>[E]) => void): void {
    this.#events.off(event, listener);
  }

  /**
   * The messages from here on, until the room is left; throws if the server ends it. While the room is not joined it waits.
   *
   * The room goes at the pace of its slowest iterator: when `bufferSize` messages wait to be read, the library stops fetching
   * and later continues from the log, so memory is bounded and nothing is lost; the event `stalled` tells. An iterator that
   * will not be read to its end must be ended with `return()`, which leaving a `for await` loop does.
   */
  [Symbol.asyncIterator](): MessageIterator<Message<T>> {
    this.#ports.used();
    return this.#delivery.read();
  }

  /** @internal Takes the options of the latest `Roomcast.room()` with any. */
  configure({ parse }: RoomOptions<T>): void {
    this.#parse = parse ?? this.#parse;
  }

  /** @internal Whether forgetting the room would change anything for an application that does not hold it. */
  get idle(): boolean {
    return this.#subscription === undefined && this.#resumeAt === undefined && !this.#events.used && !this.#delivery.used;
  }

  async #join(after: number | undefined): Promise<{ seq: number }> {
    checkWhole("after", after, 0, Number.MAX_SAFE_INTEGER, this.id);
    if (this.#released) throw this.#error("bad_request", "the room was released: get it anew");
    this.#session.assertOpen();
    // Where `connect()` has resumed the room is not where this application wants it.
    if (after !== undefined && this.#resumed) void quiet(this.#leave());
    this.#resumed = false;
    if (this.#subscription !== undefined && after !== undefined) {
      throw this.#error("bad_request", "the room is joined already: leave it to join with `after`");
    }
    const subscription = this.#subscription ?? this.#begin(after);
    const ms = this.#session.settings.operationTimeoutMs;
    const late = () => this.#error("timeout", `the room was not joined within ${ms} ms`);
    return { seq: await within(subscription.joined, ms, late) };
  }

  async #leave(): Promise<void> {
    this.#resumeAt = undefined;
    this.#session.forget(this);
    const subscription = this.#subscription;
    if (subscription === undefined) return;
    const removed = this.#session.remove(subscription);
    const reason = this.#error("left", "the room was left");
    subscription.stop(reason);
    this.#end(subscription, undefined);
    const { operationTimeoutMs } = this.#session.settings;
    const late = () => this.#error("timeout", "the server did not confirm that the room is left");
    await within(removed, operationTimeoutMs, late);
  }

  /** @internal The client connects again. */
  resume(): void {
    const at = this.#resumeAt;
    this.#resumeAt = undefined;
    // A listener may have joined it anew meanwhile.
    if (at === undefined || this.#subscription !== undefined) return;
    this.#begin(at.after).emptyAt = at.emptyAt;
    this.#resumed = true;
  }

  #begin(after: number | undefined): Subscription {
    const subscription: Subscription = new Subscription(
      this.id,
      after,
      {
        deliver: (messages) => this.#delivery.push(this.#parsed(messages)),
        full: () => this.#delivery.full,
        due: (room) => this.#session.due(room),
        joined: (seq, rejoined) => {
          if (!rejoined) this.#setState("joined");
          this.#emit("joined", { seq, rejoined });
        },
        truncated: (truncation) => this.#emit("truncated", truncation),
        gap: (gap) => this.#emit("gap", gap),
        recovering: () => this.#setState("recovering"),
        recovered: (recovery) => {
          this.#setState("joined");
          this.#emit("recovered", recovery);
        },
        failed: (error) => this.#onFailed(subscription, error),
        suspended: (reason) => this.#onSuspended(subscription, reason),
      },
      this.#session.settings,
    );
    this.#subscription = subscription;
    this.#resumeAt = undefined;
    this.#ports.used();
    this.#setState("joining");
    // A listener may have left it at once.
    if (!subscription.stopped) this.#session.add(subscription);
    return subscription;
  }

  #onFailed(subscription: Subscription, error: RoomcastError): void {
    this.#session.remove(subscription).catch(() => {});
    this.#end(subscription, error);
    this.#emit("error", error);
  }

  #onSuspended(subscription: Subscription, reason: RoomcastError): void {
    const { position, after, emptyAt } = subscription;
    this.#resumeAt = { after: position === undefined ? after : this.seq, emptyAt };
    this.#session.suspend(this);
    this.#end(subscription, reason.code === "closed" ? undefined : reason);
  }

  #end(subscription: Subscription, error: RoomcastError | undefined): void {
    if (this.#subscription !== subscription) return;
    this.#position = this.seq;
    this.#subscription = undefined;
    this.#resumed = false;
    this.#delivery.end(error);
    this.#setState("left");
    this.#emit("left", error === undefined ? {} : { error });
  }

  #onStalled(stalled: boolean): void {
    this.#emit("stalled", { stalled, waiting: this.#delivery.waiting });
  }

  #parsed(logged: readonly { message: LoggedMessage; recovered: boolean }[]): Message<T>[] {
    const messages: Message<T>[] = [];
    for (const { message, recovered } of logged) {
      try {
        const data = this.#parse === undefined ? (message.data as T) : this.#parse(message.data);
        messages.push(messageOf(this.id, message, data, recovered));
      } catch (cause) {
        const text = `message ${message.seq} has bad data: ${describe(cause)}`;
        this.#emit("error", this.#error("bad_data", text, { messageId: message.id, cause }));
      }
    }
    return messages;
  }

  #listening(event: keyof RoomEvents<T>, stop: () => void): () => void {
    this.#ports.used();
    if (event === "message") this.#delivery.listenerAdded();
    return stop;
  }

  #setState(state: RoomState): void {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#emit("state", { state, previous });
  }

  /** Every event but `message` is logged: what an application should know of, as a warning. */
  #emit<E extends Exclude<keyof RoomEvents<T>, "message">>(event: E, value: RoomEvents<T>[E]): void {
    const { logger } = this.#session.settings;
    const details = value instanceof RoomcastError ? loggable(value) : { roomId: this.id, ...value };
    logger[WARNED.has(event) ? "warn" : "debug"](`room ${event}`, details);
    this.#events.emit(event, value);
  }

  #error(code: ErrorCode, message: string, details?: ErrorDetails): RoomcastError {
    return new RoomcastError(code, message, { ...details, roomId: this.id });
  }
}
