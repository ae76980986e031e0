import { Beat } from "./beat.js";
import type { RoomcastError } from "./errors.js";
import {
  type BroadcastFrame,
  bringsState,
  type CatchUp,
  type JoinExtras,
  type JoinedFrame,
  type PresenceRev,
} from "./frames.js";
import { MAX_REPLY_MS, RETENTION_SECONDS } from "./limits.js";
import { Sequencer } from "./sequencer.js";
import type { SubscriptionPorts, SubscriptionTimes } from "./subscription-ports.js";
import { backoffDelay, type Deferred, deferred, now, Timer } from "./timing.js";

/**
 * After so many fruitless questions to a log that has nothing to show, what it announced has expired. Not at once: a
 * read may lag behind a broadcast.
 */
const SURRENDER_AFTER = 5;

/** By how much each pause between such questions is longer than the one before, besides the backoff. */
const LONGER_MS = 200;

/** One room from a join until it is left: decides what the application sees next, and when to ask the log. */
export class Subscription {
  readonly roomId: string;
  /** When to ask the log. */
  readonly beat: Beat;
  readonly #ports: SubscriptionPorts;
  readonly #times: SubscriptionTimes;
  /** Resolves with the head of the log at the first `joined`. */
  readonly joined = deferred<number>();
  readonly #sequencer = new Sequencer();
  /** What the application asked for: see `JoinOptions.after`. Or where the subscription stopped that this one resumes. */
  readonly after: number | undefined;
  /** The log may not be read, so the room is joined without `after`. */
  #logRefused = false;
  /** `lost`: the connection was lost, and no other one has joined the room yet. */
  #state: "joining" | "live" | "lost" | "stopped" = "joining";
  /** When the log was last seen with nothing known of it. */
  emptyAt: number | undefined;
  /**
   * How long such a log vouches for its later content being complete: messages are retained for longer, also when they were sent
   * while the reply was under way.
   */
  #trustEmptyMs = 0;
  /** Nobody wants what is missing: `skipTo` will be called. */
  #isSkimming = false;
  #attempts = 0;
  #recovery: { after: number; count: number; announced: boolean } | undefined;
  readonly #reorder = new Timer();
  readonly #retry = new Timer();
  #waiting: Deferred<void> | undefined;

  constructor(roomId: string, after: number | undefined, ports: SubscriptionPorts, times: SubscriptionTimes) {
    this.roomId = roomId;
    this.after = after;
    this.#ports = ports;
    this.#times = times;
    this.beat = new Beat(times.syncIntervalMs);
  }

  /** Last `seq` handed to the application; `undefined` before the room is joined for the first time. */
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
    if (position === undefined) return this.after;
    return emptied ? 0 : position;
  }

  /** The `after` for a `joinRoom`. */
  get joinFrom(): number | undefined {
    return this.#logRefused ? undefined : this.resumeFrom;
  }

  /** Goes on where `previous` has stopped, when the client connects again. */
  resume(previous: Subscription): void {
    this.emptyAt = previous.emptyAt;
    if (previous.position !== undefined) this.#sequencer.begin(this.after ?? 0);
  }

  /**
   * A `joinRoom` was refused: whether to try it in another way. Without `after` where only the log may not be read: once, and not where the
   * application has asked for that part of the log. A `sync` tells then what cannot be had. Or with what the client has said of itself before.
   */
  joinsOtherwise(extras: JoinExtras, error: RoomcastError): boolean {
    if (this.position === undefined) return false;
    if (error.code === "forbidden" && !this.#logRefused) return (this.#logRefused = true);
    return this.#ports.takesBack(extras, error);
  }

  get stopped(): boolean {
    return this.#state === "stopped";
  }

  /** Whether the room is joined on a connection that is alive, as far as is known. */
  get connected(): boolean {
    return this.#state === "live";
  }

  /** Whether asking the log makes sense: the room is joined and the application has room for the answer. */
  get syncable(): boolean {
    return this.connected && !this.#ports.full();
  }

  /** What the room is joined with besides messages. */
  get extras(): JoinExtras {
    return this.#ports.extras();
  }

  /** The list of members to compare in a `sync`. */
  get presenceRev(): number | undefined {
    return this.#ports.presenceRev();
  }

  onBroadcast(frame: BroadcastFrame): void {
    if (this.stopped) return;
    if (frame.type !== "messages") return this.#ports.broadcast(frame);
    const before = this.#sequencer.position;
    // With no room for it, only its existence is noted: it is read from the log when the application has caught up.
    if (this.#ports.full()) this.#sequencer.noteHead(frame.seq);
    else this.#sequencer.offer({ ...frame, recovered: false });
    this.#advance();
    if (this.#sequencer.position !== before && this.connected) {
      this.beat.frame(now());
      this.#ports.due(this);
    }
    this.#chase();
  }

  /** A connection has joined the room, having sent this. */
  onJoined({ after: asked, ...extras }: { after: number | undefined } & JoinExtras, page: JoinedFrame): void {
    if (this.stopped) return;
    const first = this.#state === "joining";
    const rejoined = this.#state === "lost";
    this.#state = "live";
    this.#isSkimming = false;
    const retentionMs = (page.retentionSeconds ?? RETENTION_SECONDS) * 1_000;
    this.#trustEmptyMs = Math.max(retentionMs / 2, retentionMs - MAX_REPLY_MS);
    // A frame sent between the server's write of the membership and its index showing it reaches nobody: the beat confirms.
    this.beat.joined(now(), page.syncAfterMs, page.syncWithinMs);
    if (this.position === undefined) this.#sequencer.begin(asked ?? page.seq);
    if (first && page.seq === 0) this.#sawEmpty();
    this.#ports.joined(page, extras, asked);
    if (first) this.#ports.status("joined");
    if (first || rejoined) this.#ports.emit("joined", { seq: page.seq, rejoined });
    this.joined.resolve(page.seq);
    if (this.stopped) return;
    if (first && this.after !== undefined) this.#startRecovery(this.after, true);
    if (asked === undefined) {
      this.#sequencer.noteHead(page.seq);
      this.#advance();
      this.#chase();
    } else {
      this.#apply(asked, page);
    }
    this.#ports.due(this);
  }

  /** The answer to a question to the log. `crowded`: what there was no place for went to other rooms. */
  onSynced(asked: number, page: CatchUp, crowded: boolean): void {
    if (!this.stopped) this.#apply(asked, page, crowded);
  }

  /** The answer to a beat, of what is not in the log. */
  onPresence(presence: PresenceRev | undefined, renewed: boolean): void {
    if (!this.stopped) this.#ports.compared(presence, renewed);
  }

  /** Goes on behind `seq`, if that is not done: nobody wants the messages up to there. */
  skipTo(seq: number): void {
    if (this.stopped) return;
    this.#isSkimming = false;
    this.#sequencer.skip(seq);
    this.#advance();
    if (this.#sequencer.behind) this.#ask();
  }

  /** No connection is left. */
  onDisconnected(): void {
    if (!this.connected) return;
    this.#state = "lost";
    this.beat.askAt = Infinity;
    this.#clearTimers();
    this.#startRecovery(this.#at, true);
  }

  /** The application has room for messages again. */
  onDrained(): void {
    if (this.stopped) return;
    this.#advance();
    if (this.#sequencer.behind) this.#ask();
    // Its beat may have been due while there was no room for an answer.
    this.#ports.due(this);
  }

  /** The server refused the room; or the client was closed, and the room `resumes` when it connects again. */
  end(reason: RoomcastError, resumes = false): void {
    if (this.stopped) return;
    this.stop(reason);
    this.#ports.ended(reason, resumes);
  }

  /** Ends it, without a word to the room. */
  stop(reason: RoomcastError): void {
    this.#state = "stopped";
    this.#clearTimers();
    this.joined.reject(reason);
    this.#release();
  }

  /** Resolves when nothing known is missing, or when it is no longer this subscription's to fetch. */
  caughtUp(): Promise<void> {
    const waiting = (this.#waiting ??= deferred());
    this.#release();
    return waiting.promise;
  }

  /** The same as `position`, once the room was joined. */
  get #at(): number {
    return this.position ?? 0;
  }

  #sawEmpty(): void {
    this.emptyAt = now();
    this.beat.atMost(this.emptyAt + this.#trustEmptyMs);
  }

  #apply(asked: number, page: CatchUp, crowded = false): void {
    const before = this.#at;
    const end = page.messages.at(-1)?.seq;
    if (page.truncated && page.seq > 0 && page.seq < asked) return this.#restart(asked, page);
    this.#sequencer.noteHead(Math.max(page.seq, end ?? 0));
    // With no room for it, the page is read again when the application has caught up.
    if (this.#ports.full()) return this.#release();
    // First: it may be skipped at once.
    this.#isSkimming = page.more;
    if (page.more && this.#ports.skims(page.seq)) return this.#release();
    this.#isSkimming = false;
    this.#reportTruncation(asked, page);
    if (page.seq === 0 && end === undefined && asked === this.resumeFrom) {
      this.#sequencer.emptied = true;
      this.#sawEmpty();
    }
    if (end !== undefined) this.#sequencer.offer({ after: asked, seq: end, messages: page.messages, recovered: true });
    this.#advance();
    if (this.stopped || !this.#sequencer.behind || this.#ports.full()) return;
    const progress = this.#at > before;
    if (progress) this.#attempts = 0;
    if (progress || (page.more && crowded && end === undefined)) return this.#ask();
    if (end === undefined && !page.more) {
      if (page.truncated && page.seq > 0) return this.#surrender(page.seq);
      if (this.#attempts >= SURRENDER_AFTER) {
        // A log that knows its head, and has nothing beyond it, is believed: what was announced was never in it. A beat looks again.
        if (page.seq > 0 && page.seq < this.#sequencer.highest) {
          this.#sequencer.restart(this.#at);
          this.beat.atMost(now() + MAX_REPLY_MS);
          return this.#advance();
        }
        return this.#surrender(this.#sequencer.highest);
      }
    }
    this.#askLater();
  }

  /** The position is beyond the log's head: it was of another log. */
  #restart(asked: number, page: CatchUp): void {
    const { seq } = page;
    // If broadcasts have moved the position since, the answer is of the past.
    if (asked !== this.#sequencer.position) {
      this.#askLater();
      return this.#release();
    }
    this.#sequencer.restart(seq);
    if (!bringsState(page)) this.#ports.missed(seq, true);
    this.#truncated(asked, seq, false);
    this.#advance();
  }

  /** Hands over what is in order, and closes a recovery when nothing is missing any more. */
  #advance(): void {
    if (!this.#ports.full()) this.#deliver(this.#at);
    // Whoever got the messages may have left the room.
    if (this.stopped) return;
    if (!this.connected || this.#sequencer.behind) return this.#release();
    this.#clearTimers();
    this.#attempts = 0;
    const recovery = this.#recovery;
    this.#recovery = undefined;
    if (recovery) {
      this.#ports.status("joined");
      this.#ports.emit("recovered", { after: recovery.after, seq: this.#at, count: recovery.count });
    }
    this.#release();
  }

  /** Something is missing: wait for it a little, unless waiting cannot help. */
  #chase(): void {
    if (!this.syncable || !this.#sequencer.behind || this.#isSkimming) return;
    if (this.beat.asking || this.#reorder.running || this.#retry.running) return;
    // Nothing tells whether the first broadcast after an empty log is the first message of the log: ask.
    if (this.#sequencer.emptied) return this.#ask();
    this.#reorder.set(this.#times.reorderWindowMs, () => {
      if (!this.#sequencer.behind || this.#ports.full()) return;
      const after = this.#at;
      this.#startRecovery(after, true);
      this.#ports.emit("gap", { after, seq: this.#sequencer.highest });
      this.#ask();
    });
  }

  #ask(): void {
    if (!this.syncable) return;
    this.#retry.clear();
    this.beat.askAt = now();
    this.#ports.due(this);
  }

  #askLater(): void {
    // What is given up was missing for two seconds at least, however short the pauses: copies of the log's head are younger.
    this.#retry.set(backoffDelay(this.#times.retry, this.#attempts) + LONGER_MS * this.#attempts++, () => {
      if (this.#sequencer.behind) this.#ask();
    });
  }

  /** What is missing up to `limit` is gone; what broadcasts have brought of it is delivered, and each hole told. */
  #surrender(limit: number): void {
    let missed: number | undefined;
    for (;;) {
      const after = this.#at;
      const seq = this.#sequencer.skipHole(limit);
      if (seq === undefined) break;
      missed = this.#at;
      // "All that is retained" may be nothing; nobody was promised more.
      if (after > 0 || this.emptyAt !== undefined) this.#truncated(after, seq, true);
      this.#deliver(after);
      if (this.stopped || this.#ports.full()) break;
    }
    if (missed !== undefined) this.#ports.missed(missed, false);
    if (this.stopped || this.#ports.full()) return this.#release();
    this.#attempts = 0;
    this.#advance();
    this.#chase();
  }

  /** Hands over what follows without a gap. */
  #deliver(after: number): void {
    const messages = this.#sequencer.take();
    const count = messages.filter((message) => message.recovered).length;
    if (count > 0) this.#startRecovery(after, false, count);
    if (messages.length > 0) this.#ports.deliver(messages);
  }

  #startRecovery(after: number, announced: boolean, count = 0): void {
    const recovery = (this.#recovery ??= { after, count: 0, announced: false });
    recovery.count += count;
    if (!announced || recovery.announced) return;
    recovery.announced = true;
    this.#ports.status("recovering");
  }

  /** Both connections of a hand-over report the same hole; it is told once. */
  #reportTruncation(asked: number, page: CatchUp): void {
    const { truncated, seq, messages } = page;
    const { position = 0, emptied } = this.#sequencer;
    const first = messages[0]?.seq;
    const report = (after: number, behind: number, certain: boolean) => {
      if (!bringsState(page)) this.#ports.missed(Math.max(behind - 1, after + 1), false);
      this.#truncated(after, behind, certain);
    };
    if (first === undefined) {
      if (truncated && seq === 0 && asked === position && !emptied) report(asked, seq, false);
    } else if (truncated) {
      if (asked <= position && position < first - 1) report(position, first, true);
    } else if (asked === 0 && emptied && this.emptyAt !== undefined && now() - this.emptyAt >= this.#trustEmptyMs) {
      // Asked for all that is retained, the log does not say what it has dropped since it was seen empty.
      report(position, first, false);
    }
  }

  #truncated(after: number, seq: number, certain: boolean): void {
    this.#ports.emit("truncated", { after, seq, certain });
  }

  #release(): void {
    if (this.#state === "lost" || (this.syncable && this.#sequencer.behind)) return;
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  #clearTimers(): void {
    this.#reorder.clear();
    this.#retry.clear();
  }
}
