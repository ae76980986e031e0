import { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { about, asRoomcastError, type RoomcastError } from "./errors.js";
import { JoinPace, type PaceTimes } from "./join-pace.js";
import type { Subscription } from "./subscription.js";
import { backoffDelay, type Deferred, deferred, now, sleep } from "./timing.js";

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
  /** A `joinRoom` or `leaveRoom` waits for its reply, or for its next attempt. */
  busy: boolean;
  /** Attempts to join that failed. */
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
  /** Seats that wait to be joined, longest first. */
  readonly #queue = new Set<Seat>();
  /** Syncs under way that name a room. */
  readonly #syncs = new Map<string, Promise<void>>();
  readonly #strays = new Map<string, number>();
  readonly #settledWaiters: (() => void)[] = [];
  #joining = 0;
  #pumpQueued = false;
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
    if (seat.wanted !== undefined) seat.left = deferred();
    seat.wanted = seat.joined = undefined;
    this.#proceed(seat);
    return seat.left.promise;
  }

  /** A broadcast of a room that nobody wants: a `leaveRoom` was lost, or a late `sync` has joined it again. */
  leaveStray(roomId: string): void {
    const time = now();
    if (this.#seats.has(roomId) || time - (this.#strays.get(roomId) ?? -Infinity) < STRAY_MS) return;
    for (const [other, at] of this.#strays) if (time - at >= STRAY_MS) this.#strays.delete(other);
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
    if (this.connection.end !== undefined) return;
    if (seat.wanted !== undefined) {
      if (!seat.busy && seat.joined !== seat.wanted) this.#enqueue(seat);
    } else {
      this.#queue.delete(seat);
      if (!seat.busy && seat.member) void this.#leave(seat);
      else if (!seat.busy) this.#forget(seat);
    }
    this.#release();
  }

  #enqueue(seat: Seat): void {
    this.#queue.add(seat);
    if (this.#pumpQueued) return;
    this.#pumpQueued = true;
    // Not at once: a room that is joined, left and joined again in one go is joined once.
    queueMicrotask(() => {
      this.#pumpQueued = false;
      this.#pump();
    });
  }

  /** Sends what may be sent now, and comes back when more may be. */
  #pump(): void {
    clearTimeout(this.#timer);
    if (this.connection.end !== undefined) return;
    const time = now();
    let next = Infinity;
    for (const seat of this.#queue) {
      if (this.#joining >= this.#pace.window) return;
      const at = Math.max(seat.notBefore, this.#pace.pausedUntil);
      next = Math.min(next, at);
      if (at > time) continue;
      this.#queue.delete(seat);
      void this.#join(seat);
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
      this.#check(error, sentAt);
      this.#failed(seat, subscription, error);
    }
    this.#joining--;
    seat.busy = false;
    this.#proceed(seat);
    this.#pump();
  }

  #failed(seat: Seat, subscription: Subscription, error: RoomcastError): void {
    if (this.connection.end !== undefined) return this.#pace.failed(this.connection.end);
    if (!error.retryable) {
      seat.member = false;
      if (seat.wanted !== subscription) return;
      seat.wanted = undefined;
      return subscription.fail(error);
    }
    this.#pace.failed(error);
    seat.notBefore = now() + backoffDelay(this.#times.retry, seat.failures++);
    this.#ports.error(error);
  }

  async #leave(seat: Seat): Promise<void> {
    const { roomId } = seat;
    seat.busy = true;
    for (let attempt = 1; seat.wanted === undefined && this.connection.end === undefined; attempt++) {
      await this.#syncs.get(roomId);
      // While it waited, the room may have been joined again.
      if (seat.wanted !== undefined) break;
      const sentAt = now();
      try {
        await this.connection.request({ action: "leaveRoom", roomId }, "left", this.#times.requestTimeoutMs);
        seat.member = false;
        break;
      } catch (thrown) {
        const error = about(asRoomcastError(thrown, "protocol"), { roomId });
        this.#check(error, sentAt);
        // The membership ends with the connection.
        if (this.connection.end !== undefined) break;
        if (!error.retryable || attempt === LEAVE_ATTEMPTS) {
          seat.member = false;
          seat.left.reject(error);
          break;
        }
        await this.#pause(Math.max(error.retryAfterMs ?? 0, backoffDelay(this.#times.retry, attempt)), seat);
      }
    }
    seat.busy = false;
    this.#proceed(seat);
  }

  #check(error: RoomcastError, sentAt: number): void {
    if (error.code === "timeout") void this.connection.check(sentAt, this.#times.syncTimeoutMs);
  }

  /** Ends early if the connection is lost or the room is wanted again. */
  async #pause(ms: number, seat: Seat): Promise<void> {
    const early = new Cancellation();
    const forget = this.lost.onCancel((reason) => early.cancel(reason));
    const wake = () => early.cancel(new Error("no need to wait"));
    seat.left.promise.then(wake, wake);
    await sleep(ms, early).catch(() => {});
    forget();
  }

  #forget(seat: Seat): void {
    this.#seats.delete(seat.roomId);
    seat.left.resolve();
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
