import type { LoggedMessage } from "./frames.js";

/** A stretch of the log: every message with `after < seq of message <= seq`, except conflated ones. */
export interface Span {
  after: number;
  seq: number;
  messages: LoggedMessage[];
  /** True if the stretch was read from the log, and not broadcast. */
  recovered: boolean;
}

/** A message in its place. */
export interface Sequenced {
  message: LoggedMessage;
  /** True if the message came from the log, and no broadcast has brought it. */
  recovered: boolean;
}

/** Messages in runs of consecutive numbers, such as 5, 6 and 9, 10 of 5, 6, 9, 10: one empty run of none. */
export function runs(messages: readonly LoggedMessage[]): LoggedMessage[][] {
  let run: LoggedMessage[] = [];
  const runs = [run];
  for (const message of messages) {
    const last = run.at(-1);
    if (last && last.seq + 1 < message.seq) runs.push((run = []));
    run.push(message);
  }
  return runs;
}

/**
 * Number of stretches, and of messages in them, that are held while earlier ones are missing. Others are read from the
 * log later, so nothing is lost.
 */
const MAX_SPANS = 256;
const MAX_MESSAGES = 2_000;

/**
 * The order of one room's frames: messages that were seen are dropped, messages that came too early are held, and gaps
 * show. It has no clock and no network, because the caller decides when to ask for missing messages.
 */
export class Sequencer {
  /**
   * The `seq` up to which everything has been taken. `undefined` until the first `joined` reply says where the room
   * starts.
   */
  position: number | undefined;
  /** The largest `seq` known to exist. */
  highest = 0;
  /** True if the log was last seen empty: the first message of a broadcast need not be the first of the log. */
  emptied = false;
  #early: Span[] = [];

  /** True if messages up to `highest` have not been taken. */
  get behind(): boolean {
    return this.position !== undefined && this.highest > this.position;
  }

  /** Starts the room at `position`: earlier messages do not count. */
  begin(position: number): void {
    this.position = position;
    this.emptied = position === 0;
  }

  /** Starts anew at `position`, which may be smaller, because the messages so far were of another log. */
  restart(position: number): void {
    this.highest = position;
    this.#early = [];
    this.begin(position);
  }

  /** Goes on behind `seq`, without the messages before. */
  skip(seq: number): void {
    if (seq <= (this.position ?? seq)) return;
    this.noteHead(seq);
    this.position = seq;
    this.emptied = false;
  }

  /**
   * Adds a stretch of the log. Stretches may come in any order, any number of times. `take` comes before the next
   * `offer`.
   */
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

  /** Notes that the log reaches `seq`. */
  noteHead(seq: number): void {
    this.highest = Math.max(this.highest, seq);
    if (seq === this.position && seq > 0) this.emptied = false;
  }

  /** Takes the messages that follow the position without a gap. */
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
   * Gives up the messages that are missing before the first stretch that is held, or up to `limit` if that is less,
   * because the log no longer has them. Returns the first `seq` behind the hole: 0 if nothing is held there,
   * `undefined` if there is no hole.
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
   * The messages of a stretch. A page of the log also gets the messages of its stretch that broadcasts have brought,
   * because the log may have dropped them since: a page can lead from an expired log into one that was started anew.
   */
  #messagesOf({ seq, messages, recovered }: Span): Sequenced[] {
    const known = new Map(messages.map((message) => [message.seq, { message, recovered }]));
    const broadcast = recovered ? this.#early.filter((span) => !span.recovered).flatMap((span) => span.messages) : [];
    for (const message of broadcast) if (message.seq <= seq) known.set(message.seq, { message, recovered: false });
    return [...known.values()].sort((a, b) => a.message.seq - b.message.seq);
  }
}
