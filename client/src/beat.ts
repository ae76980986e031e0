import { MAX_BEAT_MS, MAX_HIDDEN_BEAT_MS } from "./limits.js";
import { isHidden } from "./network.js";

/** No answer is a reason to ask again at once, however short the retention. */
const SHORTEST_MS = 1_000;

/** Longer than a DynamoDB index lags behind its table: see `Subscription.onJoined`. */
const CONFIRM_JOIN_MS = 1_000;

/** How long a connection, and a room, may be silent: in a hidden browser tab less, because its timers are late. */
export function longestSilence(): number {
  return isHidden() ? MAX_HIDDEN_BEAT_MS : MAX_BEAT_MS;
}

/** What is due at about the same time goes out together. */
export const SLACK_MS = 250;

/**
 * When a room is to be compared with its log.
 *
 * Each frame in order proves that nothing before it was lost, so while frames flow no beat is needed; the last of them may have
 * been lost, which shows `syncIntervalMs` after the last that came. In a silent room the server says when to look again.
 *
 *     joined -1 s- look again -- server: 540 s -- beat -- frame, frame, frame -- 30 s -- beat -- server: 30 s -- beat -- ...
 */
export class Beat {
  /** Beats of clients that got the same frame, or connected together, do not stay together. */
  readonly #interval: number;
  /** As the server said, counted from the last answer. */
  #next = 0;
  /** Counted from the last frame since then. */
  #afterFrame: number | undefined;
  /** When the room was looked at last: the connection is not to be idle for longer, nor a member silent. */
  #since = 0;
  #withinMs = Infinity;
  #confirmAt = Infinity;
  /** When the room wants to ask by itself, because something is missing. */
  askAt = Infinity;
  /** When the last broadcast came that followed on what was there. */
  lastFrameAt = 0;
  /** Answers in a row that left the room out. */
  leftOut = 0;

  constructor(syncIntervalMs: number) {
    this.#interval = syncIntervalMs * (0.75 + Math.random() / 2);
  }

  /** The log is being asked for what is missing, or will be again after a failure. */
  get asking(): boolean {
    return this.askAt < Infinity;
  }

  /** When the room is due. */
  get due(): number {
    const latest = this.#since + Math.min(longestSilence(), this.#withinMs);
    return Math.min(this.askAt, this.#confirmAt, latest, this.#afterFrame ?? this.#next);
  }

  /** Whether it is worth looking at the room in a frame that goes out anyway: not just after it was looked at. */
  ridesAlong(time: number): boolean {
    return time - this.#since >= this.due - time;
  }

  /** The room was joined: it is looked at once more. Whoever is present in it is not silent for longer than `withinMs`. */
  joined(time: number, syncAfterMs: number | undefined, withinMs = Infinity): void {
    this.#withinMs = Math.max(SHORTEST_MS, withinMs);
    this.#answered(time, time + this.#wait(syncAfterMs));
    this.confirm(time);
  }

  /** The membership is in doubt until it is looked at: when every copy of it must be visible. */
  confirm(time: number): void {
    this.#confirmAt = time + CONFIRM_JOIN_MS;
  }

  /** A broadcast followed on what was there. */
  frame(time: number): void {
    this.lastFrameAt = time;
    this.#afterFrame = time + this.#interval;
  }

  /**
   * The question that was sent at `sentAt` is answered. A room that only shared another's frame, and had nothing new, stays due
   * when it was: else one busy room would draw all silent ones into its beats.
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

  /** There is no answer: not before `retryAt`, and then also if frames flow meanwhile. */
  failed(time: number, retryAt: number): void {
    this.#answered(time, retryAt);
    if (this.asking) this.askAt = retryAt;
    if (this.#confirmAt < Infinity) this.#confirmAt = retryAt;
  }

  /** No later than this, because a silence of this length would leave a doubt. */
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
