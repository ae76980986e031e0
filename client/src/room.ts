import { type AbortSignalLike, type CallOptions, unlessAborted } from "./abort.js";
import type { Cancellation } from "./cancellation.js";
import { Delivery, type MessageIterator } from "./delivery.js";
import { asyncDispose } from "./disposal.js";
import { Emitter } from "./emitter.js";
import { type EphemeralOptions, Ephemerals } from "./ephemeral.js";
import { about, checkWhole, type ErrorCode, type ErrorDetails, RoomcastError } from "./errors.js";
import type { ClientFrame, EphemeralFrame, Reply, ReplyFrame } from "./frames.js";
import { HISTORY_MESSAGES, isRoomId, MEMBERS } from "./limits.js";
import { log } from "./logger.js";
import type { Message } from "./message.js";
import { parseAll } from "./parse.js";
import { Presence } from "./presence.js";
import type { HistoryOptions, HistoryPage, JoinOptions, RoomEvents, RoomOptions, RoomStatus } from "./room-types.js";
import { type Accepted, ephemeralFrame, type SendOptions, sender, sendFrame } from "./send.js";
import type { Session } from "./session.js";
import { StateMap } from "./state-map.js";
import { Subscription } from "./subscription.js";
import { inTime, quiet } from "./timing.js";

/** Calls of a room to its client. */
export interface RoomPorts {
  /** Tells that the application uses the room, which must stay the room with this id. */
  used(room: Room): void;
  /** Tells that the application has released the room. */
  released(room: Room): void;
}

const WARNED: readonly string[] = ["truncated", "stalled", "error"];

/** A room. Get one from `Roomcast.room()`. */
export class Room<T = unknown> extends Emitter<RoomEvents<T>> implements AsyncIterable<Message<T>> {
  readonly id: string;
  readonly #session: Session;
  readonly #ports: RoomPorts;
  readonly #delivery: Delivery<Message<T>>;
  readonly #send: ReturnType<typeof sender>;
  readonly #ephemerals = new Ephemerals();
  #stateMap: StateMap<T> | undefined;
  #presence: Presence | undefined;
  /** Parts that the room is joined with besides messages. */
  #has = { state: false, presence: false };
  #parse = (data: unknown): T => data as T;
  #status: RoomStatus = "left";
  #subscription: Subscription | undefined;
  /** True if `connect()` has brought the room back, and nobody has called `join()` since. */
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
    this.#send = sender(session);
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
   * The `seq` up to which every listener and iterator has been given everything. `undefined` until the room is joined.
   * It stays after `leave()`, to join again with `after`.
   */
  get seq(): number | undefined {
    const unread = this.#delivery.firstUnread;
    return unread ? unread.seq - 1 : (this.#subscription?.position ?? this.#position);
  }

  /**
   * The newest value of each key, if the room was joined with `state`. The map is always the same, and changes as
   * values come.
   */
  get state(): StateMap<T> {
    return (this.#stateMap ??= new StateMap<T>({
      parse: (data) => this.#parse(data),
      page: (after, seq) =>
        this.#request({ action: "getState", roomId: this.id, after: after === "" ? undefined : after, seq }, "state"),
      set: (key, data, options) => this.send(data, { ...options, key }),
      remove: async (key, options) => this.#send(sendFrame(this.id, null, { ...options, key }, true), options),
      serverNow: () => this.#session.serverNow(),
      // A reader that has come meanwhile gets all messages.
      skip: (seq) => this.#subscription?.skipTo(this.#delivery.consumed ? 0 : seq),
      error: (error) => this.#tell("error", about(error, { roomId: this.id })),
      used: () => this.#ports.used(this as Room<unknown>),
    }));
  }

  /** The members of the room, if it was joined with `presence`. */
  get presence(): Presence {
    return (this.#presence ??= new Presence({
      page: async ({ after, rev, limit, signal }) => {
        checkWhole("limit", limit, 1, this.id, MEMBERS);
        return this.#request({ action: "getMembers", roomId: this.id, after, rev, limit }, "members", signal);
      },
      announce: (done) => this.#announce(done),
      error: (error) => this.#tell("error", about(error, { roomId: this.id })),
      used: () => this.#ports.used(this as Room<unknown>),
    }));
  }

  /** True while delivery has stopped until the application reads: see the event of this name. */
  get stalled(): boolean {
    return this.#delivery.full;
  }

  /**
   * Joins the room. Resolves with the head of its log. From there on, or from `after` on, the application sees the log
   * as it is: nothing missing, nothing twice, in order. The room stays joined through lost connections until it is
   * left.
   *
   * Rejects with the reason when the server refuses. Rejects with `timeout` after `operationTimeoutMs`, but the library
   * goes on trying until `leave()`, and a `joined` event tells when it succeeds. A rejection that nobody handles is not
   * reported as unhandled, because events tell the same.
   *
   * A second `join` of a joined room resolves with the head of the first. It may add `state` and `presence`. The
   * property `seq` is the room's position now.
   *
   * Messages that arrive before there is an iterator or a `message` listener wait for the first one.
   */
  join({ after, state, presence, signal }: JoinOptions = {}): Promise<{ seq: number }> {
    return quiet(unlessAborted(signal, () => this.#join(after, state === true, presence)));
  }

  /** Leaves the room: iterators end at once. Resolves when the server has confirmed it, or the room is joined again. */
  leave({ signal }: CallOptions = {}): Promise<void> {
    return quiet(unlessAborted(signal, () => this.#leave()));
  }

  /**
   * Sends a message. Resolves when the server has accepted it. The room need not be joined. The library retries through
   * errors that pass and through lost connections, always with the same id, so the message is logged once.
   *
   * Messages of one room are logged in the order of these calls, unless they are `unordered`: each waits for the reply
   * to the one before, which is a round trip each. A stack that sends through the event bus (`INGEST_SINK=eventbridge`)
   * keeps no order. `data` is any JSON value. The whole frame may have 32 KiB.
   */
  async send(data: T, options: SendOptions = {}): Promise<Accepted> {
    return this.#send(sendFrame(this.id, data, options), options);
  }

  /**
   * Sends a message to those who are in the room now, such as "is typing". It is not logged, may be lost, and is not
   * tried again. Resolves with true if the server has taken it. It is not sent while there is no connection, nor within
   * `minIntervalMs` after the last one with this key.
   */
  async sendEphemeral(data: unknown, { key, minIntervalMs }: EphemeralOptions = {}): Promise<boolean> {
    const frame = ephemeralFrame(this.id, data, key);
    this.#session.assertOpen();
    try {
      return await this.#ephemerals.send(() => this.#session.requester.attempt(frame, "accepted"), key, minIntervalMs);
    } catch (thrown) {
      throw about(thrown, { roomId: this.id });
    }
  }

  /** Reads a page of the log, backwards. The room need not be joined. Messages that fail `parse` are left out. */
  async history({ before, limit, signal }: HistoryOptions = {}): Promise<HistoryPage<T>> {
    checkWhole("limit", limit, 1, this.id, HISTORY_MESSAGES);
    checkWhole("before", before, 1, this.id);
    const reply = await this.#request({ action: "getHistory", roomId: this.id, before, limit }, "history", signal);
    const { messages, bad } = parseAll(
      this.id,
      reply.messages.map((message) => ({ message, recovered: true })),
      this.#parse,
    );
    for (const error of bad) this.#tell("error", error);
    return { messages, more: reply.more, before: reply.messages[0]?.seq };
  }

  /** Leaves the room, removes its listeners and lets the client forget it. It cannot be joined any more. */
  release(): Promise<void> {
    this.#released = true;
    const left = this.leave();
    this.clear();
    this.#stateMap?.clear();
    this.#presence?.clear();
    this.#ports.released(this as Room<unknown>);
    return left;
  }

  /** `release()`, for `await using`. */
  [asyncDispose](): Promise<void> {
    return this.release();
  }

  /**
   * The messages from here on, until the room is left. The iterator throws if the server ends the room, and waits while
   * the room is not joined.
   *
   * The room goes at the pace of its slowest iterator. When `bufferSize` messages wait to be read, the library stops
   * fetching and later continues from the log, so memory is bounded and nothing is lost. The event `stalled` tells. An
   * iterator that will not be read to its end must be ended with `return()`, which leaving a `for await` loop does.
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

  /**
   * @internal True if the room is neither joined nor heard, and nothing waits to be read. An application that does not
   * hold it loses its `seq`, its `parse` and its pauses between ephemeral messages when it is forgotten.
   */
  get idle(): boolean {
    const isHeard = [this, this.#stateMap, this.#presence].some((emitter) => emitter?.listening());
    return !this.#subscription && !this.#session.suspended.has(this) && !isHeard && !this.#delivery.used;
  }

  /** @internal */
  override listened(event: keyof RoomEvents): void {
    this.#ports.used(this as Room<unknown>);
    if (event === "message") this.#delivery.listenerAdded();
  }

  async #join(after: number | undefined, state: boolean, presence: unknown): Promise<{ seq: number }> {
    checkWhole("after", after, 0, this.id);
    if (this.#released) throw this.#error("bad_request", "the room was released");
    this.#session.assertOpen();
    // The application wants another position than the one from which `connect()` has resumed the room.
    if (after !== undefined && this.#resumed) void quiet(this.#leave());
    // A join that asks for more of the room, as hooks do, says nothing of where the room goes on.
    this.#resumed &&= state || presence !== undefined;
    if (after !== undefined && this.#subscription) throw this.#error("bad_request", "the room is joined");
    const isMore = (state && !this.#has.state) || (presence !== undefined && !this.#has.presence);
    if (presence !== undefined && !this.#has.presence) this.presence.begin(presence === true ? undefined : presence);
    this.#has = { state: state || this.#has.state, presence: presence !== undefined || this.#has.presence };
    if (isMore && this.#subscription) this.#session.rejoin(this.#subscription);
    const { joined } = this.#subscription ?? this.#begin(after);
    if (this.#has.state) this.#delivery.keepNothing();
    return { seq: await this.#inTime(joined.promise) };
  }

  async #leave(): Promise<void> {
    const error = this.#error("left", "the room was left");
    const subscription = this.#subscription;
    if (this.#session.suspended.delete(this)) this.#dropExtras(error);
    if (!subscription) return;
    const removed = this.#session.remove(subscription);
    subscription.stop(error);
    this.#end(subscription, undefined, error);
    await this.#inTime(removed);
  }

  #inTime<R>(promise: Promise<R>, parent?: Cancellation): Promise<R> {
    const late = () => this.#error("timeout", "no reply in time");
    return inTime(promise, this.#session.settings.operationTimeoutMs, late, parent);
  }

  #begin(after: number | undefined, previous?: Subscription): Subscription {
    const subscription: Subscription = new Subscription(
      this.id,
      after,
      {
        deliver: (logged) => {
          if (subscription.stopped) return;
          const { messages, bad } = parseAll(this.id, logged, this.#parse);
          if (this.#has.state) this.state.apply(logged.map(({ message }) => message));
          if (subscription.stopped) return;
          this.#delivery.push(messages);
          // After the delivery, so that a listener that leaves because of an error has had the other messages, as `seq`
          // says.
          for (const error of bad) subscription.stopped || this.#tell("error", error);
        },
        full: () => this.#delivery.full,
        due: (room) => this.#session.syncer.due(room),
        // A listener may have left the room meanwhile.
        status: (status) => subscription.stopped || this.#setStatus(status),
        emit: (event, value) => subscription.stopped || this.#tell(event, value as RoomEvents<T>[typeof event]),
        extras: () => ({ ...(this.#has.state && { state: true }), ...(this.#has.presence && this.presence.extras) }),
        presenceRev: () => (this.#has.presence ? this.presence.rev : undefined),
        joined: (page, extras, asked) => {
          if (extras.state) this.state.joined(page, asked);
          if (extras.presence && !subscription.stopped) this.presence.joined(page, extras);
        },
        takesBack: (extras, error) => this.#has.presence && this.presence.takesBack(extras, error),
        broadcast: (frame) => {
          if (frame.type === "ephemeral") this.#onEphemeral(frame, subscription);
          else if (this.#has.presence) this.presence.changed(frame);
        },
        missed: (seq, anew) => {
          if (this.#has.state && !subscription.stopped) this.state.missed(seq, anew);
        },
        skims: (seq) => this.#has.state && !this.#delivery.consumed && this.state.skim(seq),
        compared: (presence, renewed) => {
          if (!this.#has.presence) return;
          // The row that `sync` has written again does not make the client a member.
          if (renewed) this.#session.rejoin(subscription);
          if (presence) this.presence.synced(presence);
        },
        ended: (reason, resumes) => {
          const from = subscription.position === undefined ? after : this.seq;
          const resume = () => {
            this.#resumed = true;
            this.#begin(from, subscription);
          };
          if (resumes) this.#session.suspended.set(this, resume);
          else void quiet(this.#session.remove(subscription));
          this.#end(subscription, reason.code === "closed" ? undefined : reason, resumes ? undefined : reason);
          if (!resumes) this.#tell("error", reason);
        },
      },
      this.#session.settings,
    );
    this.#subscription = subscription;
    this.#session.suspended.delete(this);
    if (previous) subscription.resume(previous);
    if (this.#has.state) this.#delivery.keepNothing();
    this.#ports.used(this as Room<unknown>);
    // Before the status, because a listener may leave the room at once, or close the client.
    this.#session.add(subscription);
    this.#setStatus("joining");
    return subscription;
  }

  /** Ends the subscription. `final` is the reason for which the room will not go on where it stops. */
  #end(subscription: Subscription, error: RoomcastError | undefined, final: RoomcastError | undefined): void {
    if (this.#subscription !== subscription) return;
    this.#position = this.seq;
    this.#subscription = undefined;
    this.#resumed = false;
    this.#delivery.end(error);
    this.#dropExtras(final);
    this.#setStatus("left");
    this.#tell("left", { error });
  }

  /** Ends state and members, or pauses them if the room will go on. */
  #dropExtras(final: RoomcastError | undefined): void {
    if (!final) {
      this.#stateMap?.pause();
      this.#presence?.pause();
      return;
    }
    this.#has = { state: false, presence: false };
    this.#stateMap?.end(final);
    this.#presence?.end(final);
  }

  async #announce(done: () => Promise<void>): Promise<void> {
    const open = this.#session.assertOpen();
    if (!this.#has.presence) throw this.#error("bad_request", "the room is not joined with presence");
    if (this.#subscription) this.#session.rejoin(this.#subscription);
    await this.#inTime(done(), open);
  }

  #onEphemeral({ ephemeral }: EphemeralFrame, subscription: Subscription): void {
    for (const message of ephemeral) {
      if (subscription.stopped) return;
      if (this.#ephemerals.isNews(message)) this.emit("ephemeral", { ...message, roomId: this.id });
    }
  }

  /** Makes a request within the time of an operation. */
  async #request<K extends ReplyFrame["type"]>(
    frame: ClientFrame,
    expects: K,
    signal?: AbortSignalLike,
  ): Promise<Reply<K>> {
    const { settings, requester } = this.#session;
    const work = (cancellation?: Cancellation) =>
      requester.request(frame, expects, settings.operationTimeoutMs, cancellation);
    return unlessAborted(signal, work, this.#session.assertOpen());
  }

  #setStatus(status: RoomStatus): void {
    const previous = this.#status;
    if (status === previous) return;
    this.#status = status;
    this.#tell("status", { status, previous });
  }

  /** Emits an event other than `message`, and logs it: as a warning if an application should know of it. */
  #tell<E extends Exclude<keyof RoomEvents<T>, "message">>(event: E, value: RoomEvents<T>[E]): void {
    const details = { roomId: this.id, ...(value instanceof RoomcastError ? { error: value } : value) };
    log(this.#session.settings.logger, WARNED.includes(event) ? "warn" : "debug", `room ${event}`, details);
    this.emit(event, value);
  }

  #error(code: ErrorCode, message: string, details?: ErrorDetails): RoomcastError {
    return new RoomcastError(code, message, { ...details, roomId: this.id });
  }
}
