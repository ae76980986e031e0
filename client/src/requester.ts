import { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import { type ClientFrame, type Reply, type ReplyFrame } from "./frames.js";
import { type Backoff, now, retryDelay, sleep } from "./timing.js";

export interface RequesterTimes {
  /** How long a sign of life may take, when a reply does not come. */
  syncTimeoutMs: number;
  /** How long one attempt waits for its reply. */
  requestTimeoutMs: number;
  retry: Backoff;
}

/** Makes a request until it is answered, over as many connections as it takes, within a time. */
export class Requester {
  readonly #times: RequesterTimes;
  #connection: Connection | undefined;
  #waiting = new Set<(connection: Connection) => void>();

  constructor(times: RequesterTimes) {
    this.#times = times;
  }

  /** Sends over `connection` from now on; `undefined`: wait for one. */
  use(connection: Connection | undefined): void {
    this.#connection = connection;
    if (connection === undefined) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const resume of waiting) resume(connection);
  }

  /**
   * Resolves with the reply. Rejects with an error that retrying cannot cure, with `timeout` after `timeoutMs`, or with the
   * reason when it is cancelled. The frame must be safe to repeat.
   */
  async request<T extends ReplyFrame["type"]>(
    frame: ClientFrame,
    expects: T,
    timeoutMs: number,
    cancellation: Cancellation,
  ): Promise<Reply<T>> {
    cancellation.throwIfCancelled();
    const deadline = new Cancellation();
    const forget = cancellation.onCancel((reason) => deadline.cancel(reason));
    let last: RoomcastError | undefined;
    const timer = setTimeout(() => {
      const why = last === undefined ? "not connected" : last.message;
      deadline.cancel(new RoomcastError("timeout", `${frame.action} failed for ${timeoutMs} ms: ${why}`, { cause: last }));
    }, timeoutMs);
    const end = now() + timeoutMs;
    try {
      for (let attempt = 0; ; attempt++) {
        const connection = await this.#current(deadline);
        const sentAt = now();
        const attemptMs = Math.max(1, Math.min(this.#times.requestTimeoutMs, end - sentAt));
        try {
          return await connection.request(frame, expects, attemptMs);
        } catch (thrown) {
          last = asRoomcastError(thrown, "protocol");
        }
        // Closing the client ends its connections too; its reason is the one to report.
        cancellation.throwIfCancelled();
        if (!last.retryable) throw last;
        void connection.check(last, sentAt, this.#times.syncTimeoutMs);
        // The wait for the next connection has its own backoff.
        if (connection.end !== undefined) continue;
        await sleep(retryDelay(this.#times.retry, attempt, last), deadline);
      }
    } finally {
      clearTimeout(timer);
      forget();
    }
  }

  #current(cancellation: Cancellation): Promise<Connection> {
    const connection = this.#connection;
    if (connection !== undefined && connection.end === undefined) return Promise.resolve(connection);
    return new Promise((resolve, reject) => {
      const resume = (next: Connection) => {
        forget();
        resolve(next);
      };
      this.#waiting.add(resume);
      const forget = cancellation.onCancel((reason) => {
        this.#waiting.delete(resume);
        reject(reason);
      });
    });
  }
}
