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
  /** Everything up to this `seq` has been taken. `undefined` until the first `joined` reply says where the room starts. */
  position: number | undefined;
  /** The largest `seq` known to exist. */
  highest = 0;
  /** The log was last seen empty, so the first message of a broadcast need not be the first of the log. */
  emptied = false;
  #early: Span[] = [];

  /** Something up to `highest` has not been taken. */
  get behind(): boolean {
    return this.position !== undefined && this.highest > this.position;
  }

  /** Starts the room at `position`; what came before it is none of ours. */
  begin(position: number): void {
    this.position = position;
    this.emptied = position === 0;
  }

  /** Starts anew at `position`, which may be smaller: what was taken before was of another log. */
  restart(position: number): void {
    this.highest = position;
    this.#early = [];
    this.begin(position);
  }

  /** Goes on behind `seq`, without what comes before. */
  skip(seq: number): void {
    if (seq <= (this.position ?? seq)) return;
    this.noteHead(seq);
    this.position = seq;
    this.emptied = false;
  }

  /** Adds a stretch of the log, in any order, any number of times. Take what it completes before offering the next. */
  offer(span: Span): void {
    this.noteHead(span.seq);
    const { position } = this;
    if (position !== undefined && span.seq <= position) return;
    const next = position !== undefined && span.after <= position;
    const held = this.#early.reduce((sum, { messages }) => sum + messages.length, span.messages.length);
    if (!next && (this.#early.length >= MAX_SPANS || held > MAX_MESSAGES)) return;
    this.#early.push(span);
    this.#early.sort((a, b) => a.after - b.after);
  }

  /** The log is known to reach `seq`. */
  noteHead(seq: number): void {
    this.highest = Math.max(this.highest, seq);
    if (seq === this.position && seq > 0) this.emptied = false;
  }

  /** Takes everything that follows the position without a gap. */
  take(): Sequenced[] {
    const taken: Sequenced[] = [];
    for (;;) {
      const { position } = this;
      const [span] = this.#early;
      if (position === undefined || !span || span.after > position) return taken;
      this.#early.shift();
      if (span.seq <= position) continue;
      taken.push(...this.#messagesOf(span).filter(({ message }) => message.seq > position));
      this.position = span.seq;
      this.emptied = false;
    }
  }

  /**
   * Gives up what is missing before the first stretch that is held, or up to `limit` if that is less: the log no longer has it.
   * Returns the first `seq` behind the hole, 0 if nothing is held there, `undefined` if nothing is missing.
   */
  skipHole(limit: number): number | undefined {
    if (this.position === undefined || this.position >= limit) return undefined;
    const [span] = this.#early;
    const held = span && span.after <= limit;
    this.position = held ? Math.max(this.position, span.after) : limit;
    this.emptied = false;
    return held ? (span.messages[0]?.seq ?? span.seq) : 0;
  }

  /**
   * What a stretch brings. A page of the log also brings what broadcasts have brought of its stretch, which the log may have dropped
   * since: a page can lead from an expired log into the one that was started anew.
   */
  #messagesOf({ seq, messages, recovered }: Span): Sequenced[] {
    const known = new Map(messages.map((message) => [message.seq, { message, recovered }]));
    const broadcast = recovered ? this.#early.filter((span) => !span.recovered).flatMap((span) => span.messages) : [];
    for (const message of broadcast) if (message.seq <= seq) known.set(message.seq, { message, recovered: false });
    return [...known.values()].sort((a, b) => a.message.seq - b.message.seq);
  }
}
