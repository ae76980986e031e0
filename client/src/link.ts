import { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import type { Subscription } from "./subscription.js";
import { type Backoff, backoffDelay, sleep } from "./timing.js";

export interface LinkTimes {
  /** How many `joinRoom` frames may wait for their replies at a time. */
  joinConcurrency: number;
  requestTimeoutMs: number;
  retry: Backoff;
}

export interface LinkPorts {
  /** A join failed and is tried again. */
  error(error: RoomcastError): void;
}

/** A `leaveRoom` that fails this often is given up: the room may be wanted again, and the membership ends with the connection. */
const LEAVE_ATTEMPTS = 8;

/**
 * A connection and the rooms joined over it. During a hand-over there are two, each with its own memberships.
 *
 * API Gateway runs the frames of one connection side by side, so the frames about one room wait for each other's replies;
 * different rooms go in parallel, a few at a time, because after an outage every client rejoins all its rooms at once.
 */
export class Link {
  readonly connection: Connection;
  readonly #times: LinkTimes;
  readonly #ports: LinkPorts;
  readonly #lost = new Cancellation();
  readonly #requested = new Set<string>();
  readonly #joined = new Set<string>();
  readonly #lastOf = new Map<string, Promise<void>>();
  readonly #queue: (() => void)[] = [];
  #joining = 0;

  constructor(connection: Connection, times: LinkTimes, ports: LinkPorts) {
    this.connection = connection;
    this.#times = times;
    this.#ports = ports;
    void connection.lost.then((reason) => this.#lost.cancel(reason));
  }

  /** Cancelled when the connection is lost. */
  get lost(): Cancellation {
    return this.#lost;
  }

  /** Whether the server has confirmed the room on this connection. */
  hasJoined(roomId: string): boolean {
    return this.connection.end === undefined && this.#joined.has(roomId);
  }

  /** Joins the subscription's room, however often it takes; what comes of it is told to the subscription. */
  join(subscription: Subscription): void {
    void this.#inTurn(subscription.roomId, () => this.#join(subscription));
  }

  /** Leaves a room; resolves at once if it was never asked for on this connection. Rejects if the server never confirms. */
  leave(roomId: string): Promise<void> {
    return this.#inTurn(roomId, () => this.#leave(roomId));
  }

  /** Resolves when every join asked for so far has ended, well or not, or the connection is lost. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#lastOf.values());
  }

  #inTurn(roomId: string, work: () => Promise<void>): Promise<void> {
    const previous = this.#lastOf.get(roomId) ?? Promise.resolve();
    const turn = previous.then(work, work);
    this.#lastOf.set(roomId, turn);
    const forget = () => {
      if (this.#lastOf.get(roomId) === turn) this.#lastOf.delete(roomId);
    };
    turn.then(forget, forget);
    return turn;
  }

  async #join(subscription: Subscription): Promise<void> {
    await this.#slot();
    try {
      for (let attempt = 0; !subscription.stopped && this.connection.end === undefined; attempt++) {
        if (await this.#tryJoin(subscription)) return;
        await sleep(backoffDelay(this.#times.retry, attempt), this.#lost);
      }
    } catch {
      // Only the wait is left to reject: the connection was lost, and the next one joins the room.
    } finally {
      this.#release();
    }
  }

  /** Whether there is nothing left to try. */
  async #tryJoin(subscription: Subscription): Promise<boolean> {
    const { roomId, resumeFrom } = subscription;
    this.#requested.add(roomId);
    try {
      const frame = { action: "joinRoom", roomId, ...(resumeFrom !== undefined && { after: resumeFrom }) } as const;
      const reply = await this.connection.request(frame, "joined", this.#times.requestTimeoutMs);
      this.#joined.add(roomId);
      subscription.onJoined(resumeFrom, reply);
      return true;
    } catch (thrown) {
      if (this.connection.end !== undefined) return true;
      const error = aboutRoom(roomId, thrown);
      if (error.retryable) {
        this.#ports.error(error);
        return false;
      }
      this.#requested.delete(roomId);
      subscription.fail(error);
      return true;
    }
  }

  async #leave(roomId: string): Promise<void> {
    if (!this.#requested.delete(roomId)) return;
    this.#joined.delete(roomId);
    for (let attempt = 1; this.connection.end === undefined; attempt++) {
      try {
        await this.connection.request({ action: "leaveRoom", roomId }, "left", this.#times.requestTimeoutMs);
        return;
      } catch (thrown) {
        // The membership ends with the connection.
        if (this.connection.end !== undefined) return;
        const error = aboutRoom(roomId, thrown);
        if (!error.retryable || attempt === LEAVE_ATTEMPTS) throw error;
      }
      await sleep(backoffDelay(this.#times.retry, attempt), this.#lost).catch(() => {});
    }
  }

  #slot(): Promise<void> {
    if (this.#joining < this.#times.joinConcurrency) {
      this.#joining++;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  /** Hands the place to the next in the queue, or frees it. */
  #release(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#joining--;
    else next();
  }
}

function aboutRoom(roomId: string, thrown: unknown): RoomcastError {
  const { code, message, retryable } = asRoomcastError(thrown, "protocol");
  return new RoomcastError(code, message, { roomId, retryable, cause: thrown });
}
