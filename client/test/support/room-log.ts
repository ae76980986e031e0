import type { CatchUp, LoggedMessage } from "../../src/frames.js";

/** A message before it has a number. */
export interface Draft {
  id: string;
  from: string;
  data: unknown;
  key?: string;
  version?: number;
  remove?: boolean;
  ttlSeconds?: number;
  /** The time of sending. Default: the time of appending. */
  sentAt?: number;
}

/** One room's log as the protocol describes it: consecutive numbers, starting at Unix microseconds when it is empty. */
export class RoomLog {
  /** Messages that retention has left. */
  retained: LoggedMessage[] = [];
  /** Everything that was ever appended, for checkers. */
  readonly all: LoggedMessage[] = [];
  /** Numbers of messages that a broadcast left out because of a newer version. */
  readonly conflated = new Set<number>();
  /** True if the log has a head row, which outlives its messages. Logs written by an older version have none. */
  remembers = true;
  #anew = false;
  readonly #clock: () => number;

  constructor(clock: () => number = Date.now) {
    this.#clock = clock;
  }

  get head(): number {
    return this.retained.at(-1)?.seq ?? 0;
  }

  append(drafts: readonly Draft[]): LoggedMessage[] {
    const first = this.#next();
    const batch = drafts.map((draft, index) => ({ sentAt: this.#clock(), ...draft, seq: first + index }));
    this.#anew = false;
    this.retained.push(...batch);
    this.all.push(...batch);
    return batch;
  }

  /** Drops all but the newest `keep` messages. */
  expire(keep = 0): void {
    this.retained = keep === 0 ? [] : this.retained.slice(-keep);
  }

  /** Drops messages that were sent before `time`. One that `isLate` is true for stays until a later call. */
  expireBefore(time: number, isLate = () => false): void {
    this.retained = this.retained.filter(({ sentAt }) => sentAt >= time || isLate());
  }

  /** Drops one message, as a table may delete a newer one before an older one. */
  drop(seq: number): void {
    this.retained = this.retained.filter((message) => message.seq !== seq);
  }

  /** The page of `joinRoom` and `sync` for a client that has everything up to `after`. */
  page(after: number, size: number): CatchUp {
    const missed = this.retained.filter((message) => message.seq > after);
    const messages = missed.slice(0, size);
    const seq = this.known;
    return {
      seq,
      messages,
      more: missed.length > messages.length,
      truncated: after > 0 && (after > seq || this.#hasDropped(after, messages)),
    };
  }

  /** The newest message, also when it has expired, if that is remembered. */
  get known(): number {
    return this.head === 0 && this.remembers ? (this.all.at(-1)?.seq ?? 0) : this.head;
  }

  /** The newest message as a read that lags behind by `ms` shows it. */
  headBefore(ms: number): number {
    return this.all.filter(({ sentAt }) => sentAt <= this.#clock() - ms).at(-1)?.seq ?? 0;
  }

  history(before: number, limit: number): { messages: LoggedMessage[]; more: boolean } {
    const older = this.retained.filter((message) => message.seq < before);
    return { messages: older.slice(-limit), more: older.length > limit };
  }

  /** The next message starts the log anew although it is not empty, as in the last seconds before it expires. */
  startAnew(): void {
    this.#anew = true;
  }

  /** True if messages between `after` and the end of a page are gone, or, without a head row, if they may be. */
  #hasDropped(after: number, page: readonly LoggedMessage[]): boolean {
    const first = this.retained[0]?.seq;
    if (!this.remembers) return first === undefined || first > after + 1;
    const end = page.at(-1)?.seq ?? Infinity;
    return this.all.filter(({ seq }) => seq > after && seq <= end).length > page.length;
  }

  #next(): number {
    if (this.retained.length > 0 && !this.#anew) return this.head + 1;
    // Numbers never go back, also when the clock stands still between an expiry and the next message.
    return Math.max(this.#clock() * 1_000, (this.all.at(-1)?.seq ?? 0) + 1);
  }
}
