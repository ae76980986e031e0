import { Cancellation, cancellable } from "./cancellation.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import { MAX_REPLY_MS } from "./limits.js";
import type { Link } from "./link.js";
import type { Settings } from "./options.js";
import { backoffDelay, type Deferred, deferred, now, sleep } from "./timing.js";

/**
 * - `connecting`: the first connection is being opened.
 * - `open`: connected. After a recovery every room has also got what it missed.
 * - `recovering`: the connection was lost; a new one is being opened, or rooms are catching up on it.
 * - `closed`: not connected and not trying: before `connect()`, after `close()`, or after an error that retrying cannot
 *   cure.
 */
export type ConnectionState = "connecting" | "open" | "recovering" | "closed";

export interface StateChange {
  state: ConnectionState;
  previous: ConnectionState;
  /** The error that caused the change, if one did. */
  error?: RoomcastError | undefined;
}

/** Life of a replaced connection, for frames under way and requests without a reply. */
const DRAIN_MS = 3_000;

interface Run {
  cancellation: Cancellation;
  opened: Deferred<void>;
}

/** Keeps a connection open: connects, reconnects with backoff, and hands over to a new connection in time. */
export abstract class Lifecycle {
  state: ConnectionState = "closed";
  readonly settings: Settings;
  #run: Run | undefined;
  /** The connection that carries everything. */
  #link: Link | undefined;
  #attempt = 0;
  /** True while `close()` tells everybody. A `connect()` takes effect after that. */
  #closing = false;
  /** Ends the current backoff. */
  #wake: (() => void) | undefined;
  /** True if the attempt under way was given up to be made again at once. */
  #hurried = false;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  /** Called when the client is to be connected from now on. */
  abstract started(): void;
  /** Opens a connection and begins to join every room on it. */
  abstract dial(cancellation: Cancellation): Promise<Link>;
  /** Gives up an attempt to connect that gets no answer. Returns true if there was one. */
  abstract giveUpDial(): boolean;
  /** Makes `link` carry everything from now on; `undefined` if there is none. */
  abstract carry(link: Link | undefined): void;
  /** Resolves when no room is known to miss anything. */
  abstract caughtUp(): Promise<unknown>;
  abstract changed(change: StateChange): void;
  abstract error(error: RoomcastError): void;
  /** Called at the end, by `close()` or by an error that retrying cannot cure. */
  abstract ended(reason: RoomcastError): void;

  /** The cancellation of everything that ends with `close()`; `undefined` while the client is closed. */
  get cancellation(): Cancellation | undefined {
    return this.#run?.cancellation;
  }

  /** Starts if it has not begun. Resolves at the first open connection, and rejects when there will be none. */
  connect(): Promise<void> {
    let run = this.#run;
    if (!run) {
      run = this.#run = { cancellation: new Cancellation(), opened: deferred() };
      this.#start();
    }
    return run.opened.promise;
  }

  /** Ends everything, and rejects operations under way with `reason`. */
  close(reason: RoomcastError, error?: RoomcastError): void {
    const run = this.#run;
    if (!run) return;
    this.#run = this.#link = undefined;
    run.cancellation.cancel(reason);
    run.opened.reject(reason);
    if (this.#closing) return this.ended(reason);
    this.#closing = true;
    this.carry(undefined);
    this.ended(reason);
    this.#setState("closed", error);
    this.#closing = false;
    this.#start();
  }

  #start(): void {
    if (!this.#run || this.#closing) return;
    const run = this.#run;
    this.#attempt = 0;
    this.#hurried = false;
    this.started();
    // A listener of a room that was brought back may have closed the client.
    if (run !== this.#run) return;
    this.#setState("connecting");
    void this.#drive(run);
  }

  /** Cuts short a backoff, and a handshake without an answer, because the network may be back, or somebody waits. */
  hurry(): void {
    this.#wake?.();
    this.#hurried = this.giveUpDial() || this.#hurried;
  }

  async #drive(run: Run): Promise<void> {
    const { cancellation } = run;
    try {
      let link = await this.#dialUntilOpen(cancellation);
      for (;;) {
        cancellation.throwIfCancelled();
        this.#adopt(link, run);
        link = await this.#replacement(link, cancellation);
      }
    } catch (thrown) {
      if (cancellation.reason) return;
      const error = asRoomcastError(thrown);
      this.error(error);
      this.close(error, error);
    }
  }

  /** Tries until a connection is open. Rejects with an error that retrying cannot cure, or when the run ends. */
  async #dialUntilOpen(cancellation: Cancellation): Promise<Link> {
    for (;;) {
      try {
        return await this.#dial(cancellation);
      } catch (thrown) {
        cancellation.throwIfCancelled();
        const error = asRoomcastError(thrown, "connect_failed");
        if (!error.retryable) throw error;
        this.error(error);
      }
      await this.#backOff(cancellation);
    }
  }

  async #dial(cancellation: Cancellation): Promise<Link> {
    const link = await this.dial(cancellation);
    const { connection } = link;
    const forget = cancellation.onCancel((reason) => connection.close(reason as RoomcastError));
    void connection.lost.then(forget);
    return link;
  }

  /** Makes `link` the connection that carries everything. */
  #adopt(link: Link, run: Run): void {
    this.#link = link;
    this.carry(link);
    void link.connection.lost.then((reason) => {
      if (run !== this.#run || this.#link !== link) return;
      this.#link = undefined;
      this.carry(undefined);
      this.#setState("recovering", reason);
    });
    run.opened.resolve();
    if (this.state === "connecting") this.#setState("open");
    else if (this.state === "recovering") void this.#openWhenRecovered(link);
  }

  async #openWhenRecovered(link: Link): Promise<void> {
    await link.settled();
    await this.caughtUp();
    if (this.#link === link && this.state === "recovering") this.#setState("open");
  }

  /**
   * Resolves with the connection that follows `link`: before `link` is too old or its token expires, or when it is
   * lost.
   */
  async #replacement(link: Link, cancellation: Cancellation): Promise<Link> {
    const { connection } = link;
    const { syncIntervalMs, syncTimeoutMs } = this.settings;
    await connection.used.promise;
    while (!connection.end) {
      try {
        return await this.#handOver(link, cancellation);
      } catch (thrown) {
        cancellation.throwIfCancelled();
        // Not the end, even if the token provider gives up for good: the old connection works until it is lost.
        this.error(asRoomcastError(thrown, "connect_failed"));
      }
      await this.#backOff(link.lost).catch(() => {});
    }
    cancellation.throwIfCancelled();
    // The backoff starts anew after a connection that lived long enough for a beat to be sent and missed: the server is
    // well. A connection of a shorter life may have been dropped because nothing was answered.
    const stableMs = 1.25 * syncIntervalMs + Math.max(syncTimeoutMs, MAX_REPLY_MS) + 1_000;
    if (now() - connection.openedAt >= stableMs) this.#attempt = 0;
    await this.#backOff(cancellation);
    return this.#dialUntilOpen(cancellation);
  }

  async #handOver(old: Link, cancellation: Cancellation): Promise<Link> {
    const next = await this.#dial(cancellation);
    // A loss of the old connection ends the hand-over: the new one takes over as it is.
    await Promise.race([next.settled(), old.connection.lost]);
    if (next.connection.end) throw next.connection.end;
    // Earlier failures are over. The next hand-over, which may be a minute away, has a backoff of its own.
    if (!old.connection.end) this.#attempt = 0;
    // Frames and replies under way come in before the old connection is closed.
    const retire = () => old.connection.close(new RoomcastError("disconnected", "the connection was replaced"));
    sleep(DRAIN_MS, old.lost).then(retire, retire);
    return next;
  }

  /** Waits for the backoff. Rejects when it is cancelled. */
  async #backOff(cancellation: Cancellation): Promise<void> {
    if (!this.#hurried) {
      const arm = (early: Cancellation) => {
        this.#wake = () => early.cancel(true);
        return () => (this.#wake = undefined);
      };
      const wait = backoffDelay(this.settings.reconnect, this.#attempt++);
      await cancellable(cancellation, arm, (early) => sleep(wait, early)).catch(() => {});
    }
    this.#hurried = false;
    cancellation.throwIfCancelled();
  }

  #setState(state: ConnectionState, error?: RoomcastError): void {
    const previous = this.state;
    if (state === previous) return;
    this.state = state;
    this.changed({ state, previous, error });
  }
}
