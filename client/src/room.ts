import { type CallOptions, unlessAborted } from "./abort.js";
import type { Cancellation } from "./cancellation.js";
import { Delivery, type MessageIterator } from "./delivery.js";
import { asyncDispose } from "./disposal.js";
import { Emitter } from "./emitter.js";
import { about, checkWhole, describe, type ErrorCode, type ErrorDetails, RoomcastError } from "./errors.js";
import { isRoomId, MAX_HISTORY_LIMIT, MAX_SEND_TIMEOUT_MS } from "./limits.js";
import { log, loggable } from "./logger.js";
import type { Gap, Recovery, Truncation } from "./loss.js";
import type { Message } from "./message.js";
import { type Accepted, sendFrame, sendLine, type SendOptions } from "./send.js";
import type { Sequenced } from "./sequencer.js";
import type { Session } from "./session.js";
import { Subscription } from "./subscription.js";
import { inTime, quiet } from "./timing.js";

/**
 * - `left`: not joined.
 * - `joining`: `join()` was called, the server has not confirmed it.
 * - `joined`: every message of the log reaches the application.
 * - `recovering`: the connection was lost or messages are missing; they will follow, in their order.
 */
export type RoomStatus = "left" | "joining" | "joined" | "recovering";

export interface RoomEvents<T = unknown> {
  /** The next message of the log. */
  message: Message<T>;
  /** The server has the room joined; `rejoined` after a lost connection. `seq` is the head of the log. */
  joined: { seq: number; rejoined: boolean };
  /** The room was left, by `leave()`, by `close()`, or because of `error`. */
  left: { error?: RoomcastError | undefined };
  /** Messages cannot be had, or perhaps: retention has dropped them, or the token does not allow to read them from the log. */
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
  status: { status: RoomStatus; previous: RoomStatus };
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
   *
   * It needs the right `history`: without it the join is refused as `forbidden`, since what was asked for cannot be had. A join without
   * it then succeeds; what is missed while the connection is lost is told by `truncated`.
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
  /** There are older ones: ask with the `before` of this page. */
  more: boolean;
  /** The first `seq` that was read, also if the message failed `parse` and is not here; `undefined` if nothing was. */
  before: number | undefined;
}

/** What a room needs of its client. */
export interface RoomPorts {
  /** The application uses the room: it must stay the room with this id. */
  used(room: Room): void;
  /** The application has no more use for it. */
  released(room: Room): void;
}

const WARNED: readonly string[] = ["truncated", "stalled", "error"];

/** A room. Get one from `Roomcast.room()`. */
export class Room<T = unknown> extends Emitter<RoomEvents<T>> implements AsyncIterable<Message<T>> {
  readonly id: string;
  readonly #session: Session;
  readonly #ports: RoomPorts;
  readonly #delivery: Delivery<Message<T>>;
  readonly #sendInOrder = sendLine();
  #parse = (data: unknown): T => data as T;
  #status: RoomStatus = "left";
  #subscription: Subscription | undefined;
  /** `connect()` has brought the room back, and nobody has called `join()` since. */
  #resumed = false;
  #position: number | undefined;
  #released = false;

  /** @internal */
  constructor(id: string, session: Session, ports: RoomPorts) {
    super();
    if (!isRoomId(id)) throw new RoomcastError("bad_request", "not a room id");
    this.id = id;
    this.#session = session;
    this.#ports = ports;
    this.#delivery = new Delivery<Message<T>>(session.settings.bufferSize, {
      listening: () => this.listening("message"),
      emit: (message) => this.emit("message", message),
      stalled: (stalled) => this.#tell("stalled", { stalled, waiting: this.#delivery.waiting }),
      drained: () => this.#subscription?.onDrained(),
    });
  }

  get status(): RoomStatus {
    return this.#status;
  }

  /**
   * Everything up to this `seq` was handed over, to every listener and iterator. `undefined` until the room is joined; kept after
   * `leave()`, to join again with `after`.
   */
  get seq(): number | undefined {
    const unread = this.#delivery.firstUnread;
    return unread ? unread.seq - 1 : (this.#subscription?.position ?? this.#position);
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
  join({ after, signal }: JoinOptions = {}): Promise<{ seq: number }> {
    return quiet(unlessAborted(signal, () => this.#join(after)));
  }

  /** Leaves the room: iterators end at once; resolves when the server has confirmed it, or the room is joined again. */
  leave({ signal }: CallOptions = {}): Promise<void> {
    return quiet(unlessAborted(signal, () => this.#leave()));
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
    const { timeoutMs = this.#session.settings.sendTimeoutMs, signal, unordered } = options;
    checkWhole("timeoutMs", timeoutMs, 1, this.id, MAX_SEND_TIMEOUT_MS);
    // Taken now: a message that waits in line ends with this connection, even if the client connects anew meanwhile.
    const closed = this.#session.assertOpen();
    const work = (cancellation?: Cancellation) => {
      const send = (ms: number) => this.#session.requester.request(frame, "accepted", ms, cancellation);
      return unordered ? send(timeoutMs) : this.#sendInOrder(send, timeoutMs);
    };
    const { roomId, id } = frame;
    try {
      await unlessAborted(signal, work, closed);
      return { roomId, id };
    } catch (thrown) {
      throw thrown instanceof RoomcastError ? about(thrown, { roomId, messageId: id }) : thrown;
    }
  }

  /** Reads the log backwards, a page at a time. The room need not be joined. Messages that fail `parse` are left out. */
  async history({ before, limit, signal }: HistoryOptions = {}): Promise<HistoryPage<T>> {
    checkWhole("limit", limit, 1, this.id, MAX_HISTORY_LIMIT);
    checkWhole("before", before, 1, this.id);
    const { settings, requester } = this.#session;
    const reply = await unlessAborted(
      signal,
      (cancellation) =>
        requester.request({ action: "getHistory", roomId: this.id, before, limit }, "history", settings.operationTimeoutMs, cancellation),
      this.#session.assertOpen(),
    );
    const { messages, bad } = this.#parsed(reply.messages.map((message) => ({ message, recovered: true })));
    for (const error of bad) this.#tell("error", error);
    return { messages, more: reply.more, before: reply.messages[0]?.seq };
  }

  /** Leaves the room, removes its listeners and lets the client forget it; it cannot be joined any more. */
  release(): Promise<void> {
    this.#released = true;
    const left = this.leave();
    this.clear();
    this.#ports.released(this as Room<unknown>);
    return left;
  }

  /** `release()`, for `await using`. */
  [asyncDispose](): Promise<void> {
    return this.release();
  }

  /**
   * The messages from here on, until the room is left; throws if the server ends it. While the room is not joined it waits.
   *
   * The room goes at the pace of its slowest iterator: when `bufferSize` messages wait to be read, the library stops fetching
   * and later continues from the log, so memory is bounded and nothing is lost; the event `stalled` tells. An iterator that
   * will not be read to its end must be ended with `return()`, which leaving a `for await` loop does.
   */
  [Symbol.asyncIterator](): MessageIterator<Message<T>> {
    this.#ports.used(this as Room<unknown>);
    const iterator = this.#delivery.read();
    if (this.#released) void iterator.return();
    return iterator;
  }

  /** @internal Takes the options of the latest `Roomcast.room()` with any. */
  configure({ parse }: RoomOptions<T>): void {
    this.#parse = parse ?? this.#parse;
  }

  /** @internal Whether forgetting the room would change anything for an application that does not hold it. */
  get idle(): boolean {
    return !this.#subscription && !this.#session.suspended.has(this) && !this.listening() && !this.#delivery.used;
  }

  /** @internal */
  override listened(event: keyof RoomEvents): void {
    this.#ports.used(this as Room<unknown>);
    if (event === "message") this.#delivery.listenerAdded();
  }

  async #join(after: number | undefined): Promise<{ seq: number }> {
    checkWhole("after", after, 0, this.id);
    if (this.#released) throw this.#error("bad_request", "the room was released");
    this.#session.assertOpen();
    // Where `connect()` has resumed the room is not where this application wants it.
    if (after !== undefined && this.#resumed) void quiet(this.#leave());
    this.#resumed = false;
    if (after !== undefined && this.#subscription) {
      throw this.#error("bad_request", "the room is joined");
    }
    const { joined } = this.#subscription ?? this.#begin(after);
    return { seq: await this.#inTime(joined.promise) };
  }

  async #leave(): Promise<void> {
    this.#session.suspended.delete(this);
    const subscription = this.#subscription;
    if (!subscription) return;
    const removed = this.#session.remove(subscription);
    subscription.stop(this.#error("left", "the room was left"));
    this.#end(subscription, undefined);
    await this.#inTime(removed);
  }

  #inTime<R>(promise: Promise<R>): Promise<R> {
    return inTime(promise, this.#session.settings.operationTimeoutMs, () => this.#error("timeout", "no answer in time"));
  }

  #begin(after: number | undefined, previous?: Subscription): Subscription {
    const subscription: Subscription = new Subscription(
      this.id,
      after,
      {
        deliver: (logged) => {
          if (subscription.stopped) return;
          const { messages, bad } = this.#parsed(logged);
          this.#delivery.push(messages);
          // Afterwards: who leaves because of it has had the others, as `seq` says.
          for (const error of bad) subscription.stopped || this.#tell("error", error);
        },
        full: () => this.#delivery.full,
        due: (room) => this.#session.syncer.due(room),
        // A listener may have left the room while the subscription was at it.
        status: (status) => subscription.stopped || this.#setStatus(status),
        emit: (event, value) => subscription.stopped || this.#tell(event, value as RoomEvents<T>[typeof event]),
        ended: (reason, resumes) => {
          const from = subscription.position === undefined ? after : this.seq;
          const resume = () => {
            this.#resumed = true;
            this.#begin(from, subscription);
          };
          if (resumes) this.#session.suspended.set(this, resume);
          else void quiet(this.#session.remove(subscription));
          this.#end(subscription, reason.code === "closed" ? undefined : reason);
          if (!resumes) this.#tell("error", reason);
        },
      },
      this.#session.settings,
    );
    this.#subscription = subscription;
    this.#session.suspended.delete(this);
    if (previous) subscription.resume(previous);
    this.#ports.used(this as Room<unknown>);
    // First: a listener may leave it at once, or close the client.
    this.#session.add(subscription);
    this.#setStatus("joining");
    return subscription;
  }

  #end(subscription: Subscription, error: RoomcastError | undefined): void {
    if (this.#subscription !== subscription) return;
    this.#position = this.seq;
    this.#subscription = undefined;
    this.#resumed = false;
    this.#delivery.end(error);
    this.#setStatus("left");
    this.#tell("left", { error });
  }

  /** Messages with their data checked, and what was wrong with others. */
  #parsed(logged: readonly Sequenced[]): { messages: Message<T>[]; bad: RoomcastError[] } {
    const messages: Message<T>[] = [];
    const bad: RoomcastError[] = [];
    for (const { message, recovered } of logged) {
      try {
        messages.push({ ...message, roomId: this.id, data: this.#parse(message.data), recovered });
      } catch (cause) {
        const text = `message ${message.seq} has bad data: ${describe(cause)}`;
        bad.push(this.#error("bad_data", text, { messageId: message.id, cause }));
      }
    }
    return { messages, bad };
  }

  #setStatus(status: RoomStatus): void {
    const previous = this.#status;
    if (status === previous) return;
    this.#status = status;
    this.#tell("status", { status, previous });
  }

  /** Emits an event other than `message`, and logs it: what an application should know of, as a warning. */
  #tell<E extends Exclude<keyof RoomEvents<T>, "message">>(event: E, value: RoomEvents<T>[E]): void {
    const details = value instanceof RoomcastError ? loggable(value) : { roomId: this.id, ...value };
    log(this.#session.settings.logger, WARNED.includes(event) ? "warn" : "debug", `room ${event}`, details);
    this.emit(event, value);
  }

  #error(code: ErrorCode, message: string, details?: ErrorDetails): RoomcastError {
    return new RoomcastError(code, message, { ...details, roomId: this.id });
  }
}
