import { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { about, asRoomcastError, type RoomcastError } from "./errors.js";
import { JoinPace, type PaceTimes } from "./join-pace.js";
import type { Subscription } from "./subscription.js";
import { type Deferred, deferred, now, retryDelay } from "./timing.js";

export interface LinkPorts {
  /** A join failed and is tried again. */
  error(error: RoomcastError): void;
  /** The room can be synced from now on. */
  joined(subscription: Subscription): void;
}

/** One room on this connection. What is wanted may change while a frame is under way; when its reply is there, what follows is decided. */
interface Seat {
  roomId: string;
  /** Whose room it is; `undefined`: nobody's, it is to be left. */
  wanted: Subscription | undefined;
  /** Whom the server has confirmed it to. */
  joined: Subscription | undefined;
  /** The server may have the connection as a member. */
  member: boolean;
  /** A `joinRoom` or `leaveRoom` waits for its reply. */
  busy: boolean;
  /** Attempts that failed. */
  failures: number;
  notBefore: number;
  left: Deferred<void>;
}

/** A `leaveRoom` that fails this often is given up: the room may be wanted again, and the membership ends with the connection. */
const LEAVE_ATTEMPTS = 8;

/** How often a room that goes on sending although it was left is left again. */
const STRAY_MS = 60_000;

/**
 * A connection and the rooms joined over it. During a hand-over there are two, each with its own memberships.
 *
 * API Gateway runs the frames of one connection side by side, so the frames about one room wait for each other's replies;
 * different rooms go in parallel, a few at a time, because after an outage every client rejoins all its rooms at once.
 */
export class Link {
  readonly connection: Connection;
  /** Cancelled when the connection is lost. */
  readonly lost = new Cancellation();
  readonly #times: PaceTimes;
  readonly #pace: JoinPace;
  readonly #ports: LinkPorts;
  readonly #seats = new Map<string, Seat>();
  /** Seats that wait to be joined or left, longest first. */
  readonly #queue = new Set<Seat>();
  /** Syncs under way that name a room. */
  readonly #syncs = new Map<string, Promise<void>>();
  readonly #strays = new Map<string, number>();
  readonly #settledWaiters: (() => void)[] = [];
  #joining = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, times: PaceTimes, pace: JoinPace, ports: LinkPorts) {
    this.connection = connection;
    this.#times = times;
    this.#pace = pace;
    this.#ports = ports;
    void connection.lost.then((reason) => this.#lost(reason));
  }

  /** Whether the server has confirmed the room on this connection. */
  hasJoined(subscription: Subscription): boolean {
    return this.connection.end === undefined && this.#seats.get(subscription.roomId)?.joined === subscription;
  }

  /** Joins the subscription's room, however often it takes; what comes of it is told to the subscription. */
  join(subscription: Subscription): void {
    const { roomId } = subscription;
    let seat = this.#seats.get(roomId);
    if (seat === undefined) {
      seat = { roomId, wanted: undefined, joined: undefined, member: false, busy: false, failures: 0, notBefore: 0, left: deferred() };
      this.#seats.set(roomId, seat);
    }
    seat.wanted = subscription;
    seat.failures = seat.notBefore = 0;
    // Whoever waited for the room to be left no longer does: it is wanted again.
    seat.left.resolve();
    this.#proceed(seat);
  }

  /** Leaves a room; resolves at once if the server cannot have it joined. Rejects if the server never confirms. */
  leave(roomId: string): Promise<void> {
    const seat = this.#seats.get(roomId);
    if (seat === undefined || this.connection.end !== undefined) return Promise.resolve();
    if (seat.wanted !== undefined) {
      seat.left = deferred();
      seat.failures = seat.notBefore = 0;
    }
    seat.wanted = seat.joined = undefined;
    this.#proceed(seat);
    return seat.left.promise;
  }

  /** A room that nobody wants and that the server has joined: a `leaveRoom` was lost, or a `joinRoom` or `sync` came after it. */
  leaveStray(roomId: string): void {
    const time = now();
    if (this.#seats.has(roomId) || time - (this.#strays.get(roomId) ?? -Infinity) < STRAY_MS) return;
    this.#strays.set(roomId, time);
    this.connection.request({ action: "leaveRoom", roomId }, "left", this.#times.requestTimeoutMs).catch(() => {});
  }

  /** Rooms that `sync` names are joined by it: they are not left before it has ended. */
  syncing(roomIds: readonly string[], sync: Promise<unknown>): void {
    const ended = sync.then(
      () => {},
      () => {},
    );
    for (const roomId of roomIds) {
      this.#syncs.set(roomId, ended);
      void ended.then(() => {
        if (this.#syncs.get(roomId) === ended) this.#syncs.delete(roomId);
      });
    }
  }

  /** Resolves when every room that is wanted is joined, or refused, or the connection is lost. */
  settled(): Promise<void> {
    if (this.#settled) return Promise.resolve();
    return new Promise((resolve) => this.#settledWaiters.push(resolve));
  }

  get #settled(): boolean {
    return this.connection.end !== undefined || ![...this.#seats.values()].some((seat) => seat.wanted !== seat.joined);
  }

  /** Does what is next for a room, unless that is decided by a reply that is to come. */
  #proceed(seat: Seat): void {
    if (seat.busy || this.connection.end !== undefined) return;
    this.#queue.delete(seat);
    if (seat.wanted === undefined && !seat.member) {
      this.#seats.delete(seat.roomId);
      seat.left.resolve();
    } else if (seat.wanted === undefined || seat.joined !== seat.wanted) {
      this.#queue.add(seat);
      // Not at once: a room that is joined, left and joined again in one go is joined once.
      queueMicrotask(() => this.#pump());
    }
    this.#release();
  }

  /** Sends what may be sent now, and comes back when more may be. */
  #pump(): void {
    clearTimeout(this.#timer);
    if (this.connection.end !== undefined) return;
    const time = now();
    let next = Infinity;
    for (const seat of this.#queue) {
      const joins = seat.wanted !== undefined;
      const at = Math.max(seat.notBefore, joins ? this.#pace.pausedUntil : 0);
      if (at > time) {
        next = Math.min(next, at);
      } else if (!joins || this.#joining < this.#pace.window) {
        this.#queue.delete(seat);
        void (joins ? this.#join(seat) : this.#leave(seat));
      }
    }
    if (next < Infinity) this.#timer = setTimeout(() => this.#pump(), next - time);
  }

  async #join(seat: Seat): Promise<void> {
    const subscription = seat.wanted;
    if (subscription === undefined) return;
    const { roomId } = seat;
    const { resumeFrom } = subscription;
    const sentAt = now();
    this.#joining++;
    seat.busy = seat.member = true;
    try {
      const frame = { action: "joinRoom", roomId, ...(resumeFrom !== undefined && { after: resumeFrom }) } as const;
      const reply = await this.connection.request(frame, "joined", this.#pace.timeoutMs);
      this.#pace.succeeded();
      if (seat.wanted === subscription) {
        seat.joined = subscription;
        subscription.onJoined(resumeFrom, reply);
        this.#ports.joined(subscription);
      }
    } catch (thrown) {
      const error = about(asRoomcastError(thrown, "protocol"), { roomId });
      void this.connection.check(error, sentAt, this.#times.syncTimeoutMs);
      this.#failed(seat, subscription, error, sentAt);
    }
    this.#joining--;
    seat.busy = false;
    this.#proceed(seat);
    this.#pump();
  }

  #failed(seat: Seat, subscription: Subscription, error: RoomcastError, sentAt: number): void {
    if (this.connection.end !== undefined) return this.#pace.failed(this.connection.end, seat.roomId, sentAt);
    if (!error.retryable) {
      seat.member = false;
      if (seat.wanted !== subscription) return;
      seat.wanted = undefined;
      return subscription.fail(error);
    }
    this.#pace.failed(error, seat.roomId, sentAt);
    seat.notBefore = now() + retryDelay(this.#times.retry, seat.failures++, error);
    this.#ports.error(error);
  }

  async #leave(seat: Seat): Promise<void> {
    const { roomId } = seat;
    seat.busy = true;
    await this.#syncs.get(roomId);
    // While it waited, the room may have been joined again.
    if (seat.wanted === undefined) {
      const sentAt = now();
      try {
        await this.connection.request({ action: "leaveRoom", roomId }, "left", this.#times.requestTimeoutMs);
        seat.member = false;
      } catch (thrown) {
        const error = about(asRoomcastError(thrown, "protocol"), { roomId });
        void this.connection.check(error, sentAt, this.#times.syncTimeoutMs);
        seat.notBefore = now() + retryDelay(this.#times.retry, seat.failures++, error);
        if (!error.retryable || seat.failures === LEAVE_ATTEMPTS) {
          seat.member = false;
          seat.left.reject(error);
        }
      }
    }
    seat.busy = false;
    this.#proceed(seat);
  }

  #lost(reason: RoomcastError): void {
    this.lost.cancel(reason);
    clearTimeout(this.#timer);
    this.#queue.clear();
    for (const seat of this.#seats.values()) if (seat.wanted === undefined) seat.left.resolve();
    this.#release();
  }

  #release(): void {
    if (this.#settledWaiters.length === 0 || !this.#settled) return;
    for (const release of this.#settledWaiters.splice(0)) release();
  }
}
