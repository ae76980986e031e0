import { MAX_BEAT_MS, MAX_HIDDEN_BEAT_MS } from "./limits.js";
import { isHidden } from "./network.js";

/** Shortest time from an answer to the next question, however short the retention is. */
const SHORTEST_MS = 1_000;

/**
 * Time from a join to the look that confirms it: longer than a DynamoDB index lags behind its table (see
 * `Subscription.onJoined`).
 */
const CONFIRM_JOIN_MS = 1_000;

/** Longest silence of a connection, and of a room. It is shorter in a hidden browser tab, whose timers are late. */
export function longestSilence(): number {
  return isHidden() ? MAX_HIDDEN_BEAT_MS : MAX_BEAT_MS;
}

/** Rooms that are due within this time of each other share a frame. */
export const SLACK_MS = 250;

/**
 * The time at which a room is compared with its log.
 *
 * A frame in order proves that nothing before it was lost, so no beat is needed while frames flow. A frame after the
 * last one may have been lost: a beat finds that out `syncIntervalMs` later. In a silent room the server says when to
 * look again.
 *
 *     joined -1 s- look again -- server: 540 s -- beat -- frame, frame, frame -- 30 s -- beat -- server: 30 s -- beat -- ...
 */
export class Beat {
  /** `syncIntervalMs`, a quarter more or less: clients that got the same frame do not beat together. */
  readonly #interval: number;
  /** The beat that the server asked for in its last answer. */
  #next = 0;
  /** The beat that follows the last frame since that answer; `undefined` if none has come. */
  #afterFrame: number | undefined;
  /** The last look at the room, from which the silence of the connection, and of a member, is counted. */
  #since = 0;
  #withinMs = Infinity;
  #confirmAt = Infinity;
  /** The time at which the room itself asks, because something is missing. */
  askAt = Infinity;
  /** The arrival of the last broadcast that put off the beat. */
  lastFrameAt = 0;
  /** Number of answers in a row that left the room out. */
  leftOut = 0;

  constructor(syncIntervalMs: number) {
    this.#interval = syncIntervalMs * (0.75 + Math.random() / 2);
  }

  /** True while the log is asked for messages that are missing, or waits to be asked again after a failure. */
  get asking(): boolean {
    return this.askAt < Infinity;
  }

  /** True if the server ends the membership of a connection that is silent for too long. */
  get leased(): boolean {
    return this.#withinMs < Infinity;
  }

  /** The time of the next beat. */
  get due(): number {
    const latest = this.#since + Math.min(longestSilence(), this.#withinMs);
    return Math.min(this.askAt, this.#confirmAt, latest, this.#afterFrame ?? this.#next);
  }

  /** True if a frame that goes out anyway should have the room in it: when more than half of the wait is over. */
  ridesAlong(time: number): boolean {
    return time - this.#since >= this.due - time;
  }

  /** Notes a join, which is confirmed by one more look. A member is not silent for longer than `withinMs`. */
  joined(time: number, syncAfterMs: number | undefined, withinMs = Infinity): void {
    this.#withinMs = Math.max(SHORTEST_MS, withinMs);
    this.#answered(time, time + this.#wait(syncAfterMs));
    this.confirm(time);
  }

  /** Asks for a look at the membership, as soon as every copy of the index must show it. */
  confirm(time: number): void {
    this.#confirmAt = time + CONFIRM_JOIN_MS;
  }

  /** Notes a broadcast that left no gap, or that came with a full buffer: what is missing then is read later anyway. */
  frame(time: number): void {
    this.lastFrameAt = time;
    this.#afterFrame = time + this.#interval;
  }

  /**
   * Notes the answer to the question of `sentAt`. A room that was not due yet, only shared another's frame, and had
   * nothing new, keeps its time: otherwise one busy room would draw all silent rooms into its beats.
   */
  synced(time: number, sentAt: number, syncAfterMs: number | undefined, news: boolean): void {
    const next = time + this.#wait(syncAfterMs);
    const frameCame = this.#afterFrame !== undefined && this.lastFrameAt > sentAt;
    const early = !news && this.#afterFrame === undefined && this.#next > sentAt + SLACK_MS;
    if (sentAt >= this.#confirmAt - SLACK_MS) this.#confirmAt = Infinity;
    if (frameCame) this.#since = time;
    else this.#answered(time, early ? Math.max(this.#next, next) : next);
    this.askAt = Infinity;
    this.leftOut = 0;
  }

  /** Notes a failure: the room is due at `retryAt`, also if frames flow meanwhile. */
  failed(time: number, retryAt: number): void {
    this.#answered(time, retryAt);
    if (this.asking) this.askAt = retryAt;
    if (this.#confirmAt < Infinity) this.#confirmAt = retryAt;
  }

  /**
   * Moves the next beat to `time` at the latest: before an empty log could have dropped a message unseen, or to look
   * again for messages that were announced and not found.
   */
  atMost(time: number): void {
    this.#next = Math.min(this.#next, Math.max(time, this.#since + SHORTEST_MS));
  }

  #wait(syncAfterMs: number | undefined): number {
    return syncAfterMs === undefined ? this.#interval : Math.max(SHORTEST_MS, syncAfterMs);
  }

  #answered(time: number, next: number): void {
    this.#since = time;
    this.#next = next;
    this.#afterFrame = undefined;
  }
}
