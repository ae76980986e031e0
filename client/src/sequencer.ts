import type { LoggedMessage } from "./frames.js";

/** A stretch of the log: it holds every message with `after < seq of message <= seq`, except conflated ones. */
export interface Span {
  after: number;
  seq: number;
  messages: LoggedMessage[];
  /** Read from the log, and not broadcast. */
  recovered: boolean;
}

/** A message in its place. */
export interface Sequenced {
  message: LoggedMessage;
  /** It came from the log, and no broadcast has brought it. */
  recovered: boolean;
}

/** How much is kept while an earlier part is missing. What does not fit is read from the log later, so nothing is lost. */
const MAX_SPANS = 256;
const MAX_MESSAGES = 2_000;

/**
 * Puts the frames of one room in order: drops what was seen, holds what came too early, tells when something is missing.
 * No clock and no network: when to ask for what is missing is the caller's decision.
 */
export class Sequencer {
  #position: number | undefined;
  #highest = 0;
  #emptied = false;
  #early: Span[] = [];
  #earlyMessages = 0;

  /** Everything up to this `seq` has been taken. `undefined` until the first `joined` reply says where the room starts. */
  get position(): number | undefined {
    return this.#position;
  }

  /** The log was last seen empty, so the first message of a broadcast need not be the first of the log. */
  get emptied(): boolean {
    return this.#emptied;
  }

  /** The largest `seq` known to exist. */
  get highest(): number {
    return this.#highest;
  }

  /** Something up to `highest` has not been taken. */
  get behind(): boolean {
    return this.#position !== undefined && this.#highest > this.#position;
  }

  /** Starts the room at `position`; what came before it is none of ours. */
  begin(position: number): void {
    this.#position = position;
    if (position === 0) this.#emptied = true;
  }

  /** Starts anew at `position`, which may be smaller: what was taken before was of another log. */
  restart(position: number): void {
    this.#highest = this.#position = position;
    this.#early = [];
    this.#earlyMessages = 0;
    this.#emptied = position === 0;
  }

  /** Adds a stretch of the log, in any order, any number of times. Take what it completes before offering the next. */
  offer(span: Span): void {
    this.noteHead(span.seq);
    if (this.#position !== undefined && span.seq <= this.#position) return;
    const next = this.#position !== undefined && span.after <= this.#position;
    const full = this.#early.length >= MAX_SPANS || this.#earlyMessages + span.messages.length > MAX_MESSAGES;
    if (full && !next) return;
    const at = this.#early.findIndex((other) => other.after > span.after);
    this.#early.splice(at === -1 ? this.#early.length : at, 0, span);
    this.#earlyMessages += span.messages.length;
  }

  /** The log is known to reach `seq`. */
  noteHead(seq: number): void {
    this.#highest = Math.max(this.#highest, seq);
    if (seq === this.#position && seq > 0) this.#emptied = false;
  }

  /** The log is empty: retention has dropped everything, or nothing was ever sent. */
  noteEmpty(): void {
    this.#emptied = true;
  }

  /** Takes everything that follows the position without a gap. */
  take(): Sequenced[] {
    const taken: Sequenced[] = [];
    while (this.#position !== undefined) {
      const span = this.#early[0];
      if (span === undefined || span.after > this.#position) break;
      this.#shift();
      this.#append(span, this.#position, taken);
    }
    return taken;
  }

  /**
   * Gives up what is missing before the first stretch that is held, or up to `limit` if that is less: the log no longer has it.
   * Returns the first `seq` behind the hole, 0 if nothing is held there, `undefined` if nothing is missing.
   */
  skipHole(limit: number): number | undefined {
    if (this.#position === undefined || this.#position >= limit) return undefined;
    const span = this.#early[0];
    const held = span !== undefined && span.after <= limit;
    this.#position = held ? Math.max(this.#position, span.after) : limit;
    this.#emptied = false;
    return held ? (span.messages[0]?.seq ?? span.seq) : 0;
  }

  #append(span: Span, position: number, to: Sequenced[]): void {
    if (span.seq <= position) return;
    const messages = span.recovered ? this.#withBroadcast(span) : span.messages.map((message) => ({ message, recovered: false }));
    to.push(...messages.filter(({ message }) => message.seq > position));
    this.#position = span.seq;
    this.#emptied = false;
  }

  /**
   * A page of the log with what broadcasts have brought of its stretch. They may have brought what the log has dropped since:
   * a page can lead from an expired log into the one that was started anew.
   */
  #withBroadcast({ seq, messages }: Span): Sequenced[] {
    const known = new Map(messages.map((message) => [message.seq, { message, recovered: true }]));
    for (const message of this.#early.filter((span) => !span.recovered).flatMap((span) => span.messages)) {
      if (message.seq <= seq) known.set(message.seq, { message, recovered: false });
    }
    return [...known.values()].sort((a, b) => a.message.seq - b.message.seq);
  }

  #shift(): Span | undefined {
    const span = this.#early.shift();
    if (span !== undefined) this.#earlyMessages -= span.messages.length;
    return span;
  }
}
