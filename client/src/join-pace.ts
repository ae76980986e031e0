import type { RoomcastError } from "./errors.js";
import { MAX_REPLY_MS } from "./limits.js";
import { type Backoff, backoffDelay, now } from "./timing.js";

export interface PaceTimes {
  /** Number of `joinRoom` frames that may wait for their replies at a time. */
  joinConcurrency: number;
  requestTimeoutMs: number;
  retry: Backoff;
}

/**
 * The pace at which a client joins rooms, over all its connections. Joins that fail make it one at a time with growing
 * pauses, whatever the number of rooms and of new connections. Joins that succeed double it, up to `joinConcurrency`:
 * 1, 2, 4, 8.
 */
export class JoinPace {
  readonly #times: PaceTimes;
  /** Number of joins that may be under way. */
  window: number;
  pausedUntil = 0;
  #failures = 0;
  /** Number of timeouts in a row. */
  #timeouts = 0;
  #failedAt = -Infinity;
  #failedRoom: string | undefined;

  constructor(times: PaceTimes) {
    this.#times = times;
    this.window = times.joinConcurrency;
  }

  /** Time that a join waits for its reply. A slow server gets more, up to the longest that API Gateway gives it. */
  get timeoutMs(): number {
    return patience(this.#times.requestTimeoutMs, this.#timeouts);
  }

  succeeded(): void {
    this.#failures = this.#timeouts = 0;
    this.#failedRoom = undefined;
    this.window = Math.min(this.#times.joinConcurrency, this.window * 2);
  }

  /** Notes that the join of `roomId`, sent at `sentAt`, has failed. */
  failed({ code, retryAfterMs = 0 }: RoomcastError, roomId: string, sentAt: number): void {
    this.window = 1;
    // A lost connection has a backoff of its own, and says nothing of the joins that were under way.
    if (code === "disconnected") return;
    const time = now();
    this.pausedUntil = Math.max(this.pausedUntil, time + retryAfterMs);
    // Joins that were under way together fail together, and count as one failure.
    if (sentAt < this.#failedAt) return;
    this.#failedAt = time;
    this.#failures++;
    this.#timeouts = code === "timeout" ? this.#timeouts + 1 : 0;
    // One room that fails has a backoff of its own, and is no reason for others to wait.
    const others = this.#failedRoom !== undefined && this.#failedRoom !== roomId;
    this.#failedRoom = roomId;
    if (others)
      this.pausedUntil = Math.max(this.pausedUntil, time + backoffDelay(this.#times.retry, this.#failures - 2));
  }
}

/** Time to wait for a reply, doubled with each timeout in a row. */
export function patience(timeoutMs: number, timeouts: number): number {
  return Math.max(timeoutMs, Math.min(timeoutMs * 2 ** timeouts, MAX_REPLY_MS));
}
