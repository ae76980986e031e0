import { type Cancellation, unlessCancelled } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import type { ClientFrame, Reply, ReplyFrame } from "./frames.js";
import { type Backoff, deferred, now, retryDelay, sleep, within } from "./timing.js";

interface RequesterTimes {
  /** Time that one attempt waits for its reply. */
  requestTimeoutMs: number;
  retry: Backoff;
}

/** Requests that are repeated until they are answered, over as many connections as it takes, within a time. */
export class Requester {
  readonly #times: RequesterTimes;
  #connection: Connection | undefined;
  #next = deferred<Connection>();

  constructor(times: RequesterTimes) {
    this.#times = times;
  }

  /** Sends over `connection` from now on. With `undefined` requests wait for one. */
  use(connection: Connection | undefined): void {
    this.#connection = connection;
    if (!connection) return;
    this.#next.resolve(connection);
    this.#next = deferred();
  }

  /** Makes one attempt. Resolves with `undefined` if there is no connection. */
  async attempt<T extends ReplyFrame["type"]>(frame: ClientFrame, expects: T): Promise<Reply<T> | undefined> {
    return this.#connection?.request(frame, expects, this.#times.requestTimeoutMs);
  }

  /**
   * Resolves with the reply. Rejects with an error that retrying cannot cure, with `timeout` after `timeoutMs`, or with
   * the reason when it is cancelled. The frame must be safe to repeat.
   */
  request<T extends ReplyFrame["type"]>(
    frame: ClientFrame,
    expects: T,
    timeoutMs: number,
    cancellation?: Cancellation,
  ): Promise<Reply<T>> {
    const end = now() + timeoutMs;
    let last: RoomcastError | undefined;
    const late = () =>
      new RoomcastError(
        "timeout",
        `no reply to ${frame.action} within ${timeoutMs} ms: ${last?.message ?? "not connected"}`,
        { cause: last },
      );
    const work = async (deadline: Cancellation) => {
      for (let attempt = 0; ; attempt++) {
        // The reason for closing the client is the one to report, although its connections end as well.
        deadline.throwIfCancelled();
        const connection = this.#connection ?? (await unlessCancelled(this.#next.promise, deadline));
        // The deadline's timer stands still while the device sleeps. After that the server may have forgotten the id.
        if (now() >= end) throw late();
        try {
          return await connection.request(frame, expects, Math.min(this.#times.requestTimeoutMs, end - now()));
        } catch (thrown) {
          last = asRoomcastError(thrown);
        }
        if (!last.retryable) throw last;
        // The wait for the next connection has its own backoff.
        if (!connection.end) await sleep(retryDelay(this.#times.retry, attempt, last), deadline);
      }
    };
    return within(timeoutMs, late, work, cancellation);
  }
}
