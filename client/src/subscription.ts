import { RoomcastError } from "./errors.js";
import type { LogPage, MessagesFrame } from "./frames.js";
import { Sequencer, type Sequenced } from "./sequencer.js";
import { type Backoff, backoffDelay, deferred, now } from "./timing.js";

/** Why an application cannot have a stretch of a room. */
export interface Truncation {
  /** The last `seq` that was delivered, or the `after` of the join. */
  after: number;
  /** The first `seq` that the log still has; 0 if the log is empty. */
  seq: number;
  /** False when the log is empty now: then something may have been dropped, or nothing was sent. */
  certain: boolean;
}

/** A stretch that was missing has been read from the log. */
export interface Recovery {
  /** The last `seq` delivered before. */
  after: number;
  /** The last `seq` delivered now. */
  seq: number;
  /** How many of the messages between came from the log and not from a broadcast. */
  count: number;
}

/** Frames showed that messages after `after`, up to `seq` at most, are missing; they are being read from the log. */
export interface Gap {
  after: number;
  seq: number;
}

/** What a subscription needs from its room and its client. */
export interface SubscriptionPorts {
  deliver(messages: Sequenced[]): void;
  /** The application has as many unread messages as it may: deliver nothing more for now. */
  full(): boolean;
  /** Ask the log what follows this subscription's `resumeFrom`, soon; the answer comes as `onSynced` or `onSyncFailed`. */
  sync(subscription: Subscription): void;
  joined(seq: number, rejoined: boolean): void;
  truncated(truncation: Truncation): void;
  gap(gap: Gap): void;
  recovering(): void;
  recovered(recovery: Recovery): void;
  failed(error: RoomcastError): void;
}

export interface SubscriptionTimes {
  /** How long frames may arrive out of order before what is missing is asked for. */
  reorderWindowMs: number;
  /** How long after a join the log is read once more. */
  confirmJoinMs: number;
  /** Between questions to a log that does not yet show what a frame announced. */
  retry: Backoff;
}

/**
 * After so many fruitless questions to a log that says that it is empty, what it announced has expired. Not at once: a
 * read may lag behind a broadcast.
 */
const SURRENDER_AFTER = 5;

/**
 * How long a log seen empty vouches for its later content being complete. Retention is much longer, but how much is the
 * server's secret.
 */
const TRUST_EMPTY_MS = 10 * 60_000;

/** One room from a join until it is left: decides what the application sees next, and when to ask the log. */
export class Subscription {
  readonly roomId: string;
  readonly #ports: SubscriptionPorts;
  readonly #times: SubscriptionTimes;
  readonly #sequencer = new Sequencer();
  readonly #joined = deferred<number>();
  readonly #after: number | undefined;
  #state: "joining" | "live" | "stopped" = "joining";
  /** The connection was lost, and no other one has joined the room yet. */
  #lost = false;
  /** When the log was last seen empty. */
  #emptyAt = 0;
  #syncing = false;
  #more = false;
  #attempts = 0;
  #recovery: { after: number; count: number; announced: boolean } | undefined;
  #reorderTimer: ReturnType<typeof setTimeout> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #confirmTimer: ReturnType<typeof setTimeout> | undefined;
  #caughtUpWaiters: (() => void)[] = [];

  constructor(roomId: string, after: number | undefined, ports: SubscriptionPorts, times: SubscriptionTimes) {
    this.roomId = roomId;
    this.#after = after;
    this.#ports = ports;
    this.#times = times;
  }

  /** Resolves with the head of the log at the first `joined`. */
  get joined(): Promise<number> {
    return this.#joined.promise;
  }

  /** Last `seq` handed to the application; `undefined` before the room is joined. */
  get position(): number | undefined {
    return this.#sequencer.position;
  }

  /**
   * The `after` for the next question to the log; `undefined`: start at its head. 0, meaning all that is retained, if the log
   * was empty a moment ago: what it holds now is new, and asking from an expired position would report a loss that did not
   * happen.
   */
  get resumeFrom(): number | undefined {
    const { position, emptied } = this.#sequencer;
    if (position === undefined) return this.#after;
    return emptied && now() - this.#emptyAt < TRUST_EMPTY_MS ? 0 : position;
  }

  get stopped(): boolean {
    return this.#state === "stopped";
  }

  /** Whether the room is joined on a connection that is alive, as far as is known. */
  get connected(): boolean {
    return this.#state === "live" && !this.#lost;
  }

  /** Whether asking the log makes sense: the room is joined and the application has room for the answer. */
  get syncable(): boolean {
    return this.connected && !this.#ports.full();
  }

  onBroadcast(frame: MessagesFrame): void {
    if (this.stopped) return;
    // With no room for it, only its existence is noted: it is read from the log when the application has caught up.
    if (this.#ports.full()) this.#sequencer.noteHead(frame.seq);
    else this.#sequencer.offer({ ...frame, recovered: false });
    this.#advance();
    this.#chase();
  }

  /** A connection has joined the room, having sent `asked` as its `after`. */
  onJoined(asked: number | undefined, page: LogPage): void {
    if (this.stopped) return;
    const first = this.#state === "joining";
    const rejoined = this.#lost;
    this.#state = "live";
    this.#lost = false;
    if (first) this.#sequencer.begin(asked ?? page.seq);
    if (page.seq === 0) this.#emptyAt = now();
    if (first || rejoined) this.#ports.joined(page.seq, rejoined);
    if (first && asked !== undefined) this.#startRecovery(asked, true);
    this.#joined.resolve(page.seq);
    // A frame sent between the server's write of the membership and its index showing it reaches nobody.
    clearTimeout(this.#confirmTimer);
    this.#confirmTimer = setTimeout(() => this.#ask(), this.#times.confirmJoinMs);
    if (asked === undefined) {
      this.#sequencer.noteHead(page.seq);
      this.#advance();
      this.#chase();
    } else {
      this.#apply(asked, page);
    }
  }

  /** The answer to a question to the log. */
  onSynced(asked: number, page: LogPage): void {
    if (this.stopped) return;
    this.#syncing = false;
    this.#apply(asked, page);
  }

  /** There will be no answer to the question. */
  onSyncFailed(): void {
    if (this.stopped) return;
    this.#syncing = false;
    if (this.#incomplete && !this.#lost) this.#askLater();
  }

  /** No connection is left. */
  onDisconnected(): void {
    if (this.#state !== "live") return;
    this.#lost = true;
    this.#syncing = false;
    this.#clearTimers();
    this.#startRecovery(this.#sequencer.position ?? 0, true);
  }

  /** The application has room for messages again. */
  onDrained(): void {
    if (this.#state !== "live") return;
    this.#advance();
    if (this.#incomplete && !this.#lost) this.#ask();
  }

  /** The server refused the room. */
  fail(error: RoomcastError): void {
    if (this.stopped) return;
    this.stop(error);
    this.#ports.failed(error);
  }

  stop(reason: RoomcastError): void {
    this.#state = "stopped";
    this.#clearTimers();
    this.#joined.reject(reason);
    this.#releaseWaiters();
  }

  /** Resolves when nothing known is missing, or when it is no longer this subscription's to fetch. */
  caughtUp(): Promise<void> {
    if (this.#settled) return Promise.resolve();
    return new Promise((resolve) => this.#caughtUpWaiters.push(resolve));
  }

  get #incomplete(): boolean {
    return this.#more || this.#sequencer.behind;
  }

  get #settled(): boolean {
    if (this.#state !== "live") return true;
    return !this.#lost && (!this.#incomplete || this.#ports.full());
  }

  #apply(asked: number, page: LogPage): void {
    const before = this.#sequencer.position ?? 0;
    const end = page.messages.at(-1)?.seq;
    this.#more = page.more;
    this.#sequencer.noteHead(Math.max(page.seq, end ?? 0));
    // With no room for it, the page is read again when the application has caught up.
    if (this.#ports.full()) return this.#releaseIfSettled();
    if (page.truncated) this.#reportTruncation(asked, page);
    if (page.seq === 0 && end === undefined && asked === this.resumeFrom) {
      this.#sequencer.noteEmpty();
      this.#emptyAt = now();
    }
    if (end !== undefined) this.#sequencer.offer({ after: asked, seq: end, messages: page.messages, recovered: true });
    this.#advance();
    if (!this.#incomplete || this.#ports.full()) return;
    if ((this.#sequencer.position ?? 0) > before) {
      this.#attempts = 0;
      return this.#ask();
    }
    if (page.seq === 0 && this.#attempts >= SURRENDER_AFTER) return this.#surrender();
    this.#askLater();
  }

  /** Hands over what is in order, and closes a recovery when nothing is missing any more. */
  #advance(): void {
    const before = this.#sequencer.position ?? 0;
    if (!this.#ports.full()) this.#deliver(this.#sequencer.take(), before);
    if (!this.connected || this.#incomplete) return this.#releaseIfSettled();
    clearTimeout(this.#reorderTimer);
    this.#reorderTimer = undefined;
    this.#attempts = 0;
    const recovery = this.#recovery;
    this.#recovery = undefined;
    if (recovery !== undefined && (recovery.announced || recovery.count > 0)) {
      this.#ports.recovered({ after: recovery.after, seq: this.#sequencer.position ?? 0, count: recovery.count });
    }
    this.#releaseIfSettled();
  }

  /** Something is missing: wait for it a little, unless waiting cannot help. */
  #chase(): void {
    if (!this.syncable || !this.#sequencer.behind) return;
    if (this.#syncing || this.#reorderTimer !== undefined || this.#retryTimer !== undefined) return;
    // Nothing tells whether the first broadcast after an empty log is the first message of the log: ask.
    if (this.#sequencer.emptied) return this.#ask();
    this.#reorderTimer = setTimeout(() => {
      this.#reorderTimer = undefined;
      if (!this.#sequencer.behind || this.#ports.full()) return;
      const after = this.#sequencer.position ?? 0;
      this.#startRecovery(after, true);
      this.#ports.gap({ after, seq: this.#sequencer.highest });
      this.#ask();
    }, this.#times.reorderWindowMs);
  }

  #ask(): void {
    if (this.#syncing || !this.syncable) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#syncing = true;
    this.#ports.sync(this);
  }

  #askLater(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#incomplete) this.#ask();
    }, backoffDelay(this.#times.retry, this.#attempts++));
  }

  #surrender(): void {
    const after = this.#sequencer.position ?? 0;
    const held = this.#sequencer.surrender();
    this.#more = false;
    this.#ports.truncated({ after, seq: held[0]?.message.seq ?? 0, certain: true });
    this.#deliver(held, after);
    this.#advance();
  }

  #deliver(messages: Sequenced[], after: number): void {
    if (messages.length === 0) return;
    const count = messages.filter((message) => message.recovered).length;
    if (count > 0) {
      this.#startRecovery(after, false);
      if (this.#recovery !== undefined) this.#recovery.count += count;
    }
    this.#ports.deliver(messages);
  }

  #startRecovery(after: number, announced: boolean): void {
    const starting = announced && this.#recovery?.announced !== true;
    this.#recovery ??= { after, count: 0, announced };
    this.#recovery.announced ||= announced;
    if (starting) this.#ports.recovering();
  }

  /** Both connections of a hand-over report the same hole; it is told once. */
  #reportTruncation(asked: number, page: LogPage): void {
    const position = this.#sequencer.position ?? 0;
    const first = page.messages[0]?.seq;
    if (first === undefined) {
      if (page.seq === 0 && asked === position && !this.#sequencer.emptied) {
        this.#ports.truncated({ after: asked, seq: 0, certain: false });
      }
    } else if (asked <= position && position < first - 1) {
      this.#ports.truncated({ after: position, seq: first, certain: true });
    }
  }

  #releaseIfSettled(): void {
    if (this.#settled) this.#releaseWaiters();
  }

  #releaseWaiters(): void {
    const waiters = this.#caughtUpWaiters;
    this.#caughtUpWaiters = [];
    for (const release of waiters) release();
  }

  #clearTimers(): void {
    for (const timer of [this.#reorderTimer, this.#retryTimer, this.#confirmTimer]) clearTimeout(timer);
    this.#reorderTimer = this.#retryTimer = this.#confirmTimer = undefined;
  }
}
