import { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { about, type RoomcastError } from "./errors.js";
import type { JoinExtras } from "./frames.js";
import type { JoinPace, PaceTimes } from "./join-pace.js";
import type { Subscription } from "./subscription.js";
import { type Deferred, deferred, now, retryDelay, Timer } from "./timing.js";

interface LinkPorts {
  /** Reports a join that failed and is tried again. */
  error(error: RoomcastError): void;
}

/** One room on this connection. The wish may change while a frame is under way: its reply decides what follows. */
interface Seat {
  roomId: string;
  /** The subscription whose room it is; `undefined` if the room is to be left. */
  wanted: Subscription | undefined;
  /** The subscription for which the server has confirmed the join. */
  joined?: Subscription | undefined;
  /** True if the server may have the connection as a member. */
  member: boolean;
  /** True while a `joinRoom` or `leaveRoom` waits for its reply. */
  busy: boolean;
  /** True if the room's extras have changed since the last `joinRoom`. */
  outdated?: boolean;
  /** Number of attempts that failed. */
  failures: number;
  notBefore: number;
  left: Deferred<void>;
}

/** Number of failures after which a `leaveRoom` is given up. The membership ends with the connection at the latest. */
const LEAVE_ATTEMPTS = 8;

/** Time after which a room that goes on sending although it was left is left again. */
const STRAY_MS = 60_000;

/**
 * A connection and the rooms joined over it. A hand-over has two, each with its own memberships.
 *
 * API Gateway runs the frames of one connection side by side, so frames about one room wait for each other's replies.
 * Different rooms go in parallel, a few at a time, because after an outage every client joins all its rooms again at
 * once.
 */
export class Link {
  readonly connection: Connection;
  /** The cancellation when the connection is lost. */
  readonly lost = new Cancellation();
  readonly #times: PaceTimes;
  readonly #pace: JoinPace;
  readonly #ports: LinkPorts;
  readonly #seats = new Map<string, Seat>();
  /** Seats that wait to be joined or left, longest first. */
  readonly #queue = new Set<Seat>();
  /** The last sync that names a room, by room. */
  readonly #syncs = new Map<string, Promise<unknown>>();
  readonly #strays = new Map<string, number>();
  #waiting: Deferred<void> | undefined;
  #joining = 0;
  readonly #timer = new Timer();

  constructor(connection: Connection, times: PaceTimes, pace: JoinPace, ports: LinkPorts) {
    this.connection = connection;
    this.#times = times;
    this.#pace = pace;
    this.#ports = ports;
    void connection.lost.then((reason) => {
      this.lost.cancel(reason);
      this.#timer.clear();
      this.#queue.clear();
      for (const seat of this.#seats.values()) if (!seat.wanted) seat.left.resolve();
      this.#release();
    });
  }

  /** True if the server has confirmed the room on this connection. */
  hasJoined(subscription: Subscription): boolean {
    return !this.connection.end && this.#seats.get(subscription.roomId)?.joined === subscription;
  }

  /** Joins the subscription's room, however many attempts it takes. The subscription is told the outcome. */
  join(subscription: Subscription): void {
    this.#occupy(subscription.roomId, subscription);
  }

  /** Joins the subscription's room once more, if it is joined or being joined, because its extras have changed. */
  rejoin(subscription: Subscription): void {
    const seat = this.#seats.get(subscription.roomId);
    if (seat?.wanted !== subscription) return;
    seat.outdated = true;
    seat.joined = undefined;
    this.#proceed(seat);
  }

  /** Leaves a room. Resolves at once if the server cannot have it joined, and rejects if the server never confirms. */
  async leave(roomId: string): Promise<void> {
    const seat = this.#seats.get(roomId);
    if (!seat || this.connection.end) return;
    if (seat.wanted) {
      seat.left = deferred();
      seat.failures = seat.notBefore = 0;
    }
    seat.wanted = seat.joined = undefined;
    this.#proceed(seat);
    return seat.left.promise;
  }

  /**
   * Leaves a room that nobody wants and that the server has joined: a `leaveRoom` was lost, or a `joinRoom` or `sync`
   * came after it.
   */
  leaveStray(roomId: string): void {
    const time = now();
    if (this.#seats.has(roomId) || time - (this.#strays.get(roomId) ?? -Infinity) < STRAY_MS) return;
    this.#strays.set(roomId, time);
    this.#occupy(roomId, undefined);
  }

  /** Notes a sync under way. Its rooms are left only after it has ended, because it would join them again. */
  syncing(roomIds: Iterable<string>, sync: Promise<unknown>): void {
    for (const roomId of roomIds) this.#syncs.set(roomId, sync);
  }

  /** Resolves when every room that is wanted is joined or refused, or when the connection is lost. */
  settled(): Promise<void> {
    const waiting = (this.#waiting ??= deferred());
    this.#release();
    return waiting.promise;
  }

  #occupy(roomId: string, wanted: Subscription | undefined): void {
    const made = { roomId, member: !wanted, busy: false, left: deferred<void>() };
    const seat: Seat = Object.assign(this.#seats.get(roomId) ?? made, { wanted, failures: 0, notBefore: 0 });
    this.#seats.set(roomId, seat);
    // The room is wanted again, so nobody waits for it to be left.
    seat.left.resolve();
    this.#proceed(seat);
  }

  /** Does what is next for a room, unless a reply under way decides that. */
  #proceed(seat: Seat): void {
    if (seat.busy || this.connection.end) return;
    this.#queue.delete(seat);
    if (!seat.wanted && !seat.member) {
      this.#seats.delete(seat.roomId);
      seat.left.resolve();
    } else if (!seat.wanted || seat.joined !== seat.wanted) {
      this.#queue.add(seat);
      // Later, so that a room that is joined, left and joined again in one go is joined once.
      queueMicrotask(() => this.#pump());
    }
    this.#release();
  }

  /** Sends the frames that may be sent now, and comes back when more may be. */
  #pump(): void {
    this.#timer.clear();
    if (this.connection.end) return;
    const time = now();
    let next = Infinity;
    for (const seat of this.#queue) {
      const { wanted } = seat;
      const at = Math.max(seat.notBefore, wanted ? this.#pace.pausedUntil : 0);
      if (at > time) {
        next = Math.min(next, at);
      } else if (!wanted || this.#joining < this.#pace.window) {
        this.#queue.delete(seat);
        void this.#run(seat, wanted);
      }
    }
    if (next < Infinity) this.#timer.set(next - time, () => this.#pump());
  }

  async #run(seat: Seat, wanted: Subscription | undefined): Promise<void> {
    seat.busy = true;
    await (wanted ? this.#join(seat, wanted) : this.#leave(seat));
    seat.busy = false;
    this.#proceed(seat);
    if (wanted) this.#pump();
  }

  async #join(seat: Seat, subscription: Subscription): Promise<void> {
    const { roomId } = seat;
    const frame = { action: "joinRoom", roomId, after: subscription.joinFrom, ...subscription.extras } as const;
    const sentAt = now();
    this.#joining++;
    seat.member = true;
    seat.outdated = false;
    try {
      const reply = await this.connection.request(frame, "joined", this.#pace.timeoutMs);
      this.#pace.succeeded();
      this.connection.expiresIn(reply.expiresInMs, sentAt);
      if (seat.wanted === subscription) {
        if (!seat.outdated) seat.joined = subscription;
        subscription.onJoined(frame, reply);
      }
    } catch (thrown) {
      this.#failed(seat, subscription, about(thrown, { roomId }), sentAt, frame);
    }
    this.#joining--;
  }

  #failed(seat: Seat, subscription: Subscription, error: RoomcastError, sentAt: number, frame: JoinExtras): void {
    if (error.retryable) this.#pace.failed(error, seat.roomId, sentAt);
    if (this.connection.end) return;
    if (error.retryable) {
      this.#delay(seat, error);
      return this.#ports.error(error);
    }
    seat.member = false;
    if (seat.wanted !== subscription) return;
    if (subscription.joinsOtherwise(frame, error)) return;
    seat.wanted = undefined;
    subscription.end(error);
  }

  async #leave(seat: Seat): Promise<void> {
    const { roomId } = seat;
    await this.#syncs.get(roomId)?.catch(() => {});
    // While it waited, the room may have been joined again.
    if (seat.wanted) return;
    try {
      await this.connection.request({ action: "leaveRoom", roomId }, "left", this.#times.requestTimeoutMs);
      seat.member = false;
    } catch (thrown) {
      const error = about(thrown, { roomId });
      this.#delay(seat, error);
      if (error.retryable && seat.failures < LEAVE_ATTEMPTS) return;
      seat.member = false;
      seat.left.reject(error);
    }
  }

  #delay(seat: Seat, error: RoomcastError): void {
    seat.notBefore = now() + retryDelay(this.#times.retry, seat.failures++, error);
  }

  #release(): void {
    if (
      !this.#waiting ||
      (!this.connection.end && [...this.#seats.values()].some((seat) => seat.wanted !== seat.joined))
    )
      return;
    this.#waiting.resolve();
    this.#waiting = undefined;
  }
}
