import { Beat } from "./beat.js";
import type { RoomcastError } from "./errors.js";
import type { BroadcastFrame, CatchUp, JoinExtras, JoinedFrame, PresenceRev } from "./frames.js";
import { bringsState } from "./frames.js";
import { MAX_REPLY_MS, RETENTION_SECONDS } from "./limits.js";
import { runs, Sequencer } from "./sequencer.js";
import type { SubscriptionPorts, SubscriptionTimes } from "./subscription-ports.js";
import { backoffDelay, type Deferred, deferred, now, Timer } from "./timing.js";

/** Number of fruitless questions to the log after which announced messages count as expired: a read may lag behind. */
const SURRENDER_AFTER = 5;

/** Growth of each pause between such questions, besides the backoff: 0, 200, 400, 600, 800 ms make two seconds. */
const LONGER_MS = 200;

/** One room from a join until it is left. It decides what the application sees next, and when to ask the log. */
export class Subscription {
  readonly roomId: string;
  readonly beat: Beat;
  readonly #ports: SubscriptionPorts;
  readonly #times: SubscriptionTimes;
  /** Resolves with the head of the log at the first `joined`. */
  readonly joined = deferred<number>();
  readonly #sequencer = new Sequencer();
  /**
   * The position that the application asked for (see `JoinOptions.after`), or at which the subscription stopped that
   * this one resumes.
   */
  readonly after: number | undefined;
  /** True if the log may not be read, so that the room is joined without `after`. */
  #logRefused = false;
  /**
   * `live`: the room is joined on a connection that lives, as far as is known. `lost`: the connection was lost, and no
   * other one has joined the room yet.
   */
  #state: "joining" | "live" | "lost" | "stopped" = "joining";
  /** The last time that the log was seen empty, with nothing known of it. */
  emptyAt: number | undefined;
  /**
   * Time for which an empty log vouches that its later content is complete: messages are retained for longer, even
   * those that were sent while the reply was under way. With a retention of 600 s that is 570 s.
   */
  #trustEmptyMs = 0;
  /** True if nobody wants the missing messages, so that `skipTo` will be called. */
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

  /** The last `seq` handed to the application; `undefined` before the room is joined for the first time. */
  get position(): number | undefined {
    return this.#sequencer.position;
  }

  /**
   * The `after` for the next question to the log; `undefined` to start at its head. It is 0, for all that is retained,
   * if the log was empty a moment ago: everything in it is new, and a question from an expired position would report a
   * loss. With a full buffer it is the newest message that is known, so that no answer brings messages in vain.
   */
  get resumeFrom(): number | undefined {
    const { position, emptied } = this.#sequencer;
    if (position === undefined) return this.after;
    if (emptied) return 0;
    return this.#ports.full() ? this.#sequencer.highest : position;
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
   * Takes the refusal of a `joinRoom`. Returns true if it can be tried in another way: with earlier data of the client,
   * or, once, without `after`, if only the log may not be read, and the application has not asked for that part of it.
   */
  joinsOtherwise(extras: JoinExtras, error: RoomcastError): boolean {
    if (this.position === undefined) return false;
    if (error.code === "forbidden" && !this.#logRefused) return (this.#logRefused = true);
    return this.#ports.takesBack(extras, error);
  }

  get stopped(): boolean {
    return this.#state === "stopped";
  }

  /** True if asking the log makes sense: the room is joined, and the buffer has place for the answer. */
  get syncable(): boolean {
    return this.#state === "live" && !this.#ports.full();
  }

  /** Parts of the room that it is joined with besides messages. */
  get extras(): JoinExtras {
    return this.#ports.extras();
  }

  /** The number of the list of members to compare in a `sync`. */
  get presenceRev(): number | undefined {
    return this.#ports.presenceRev();
  }

  onBroadcast(frame: BroadcastFrame): void {
    if (this.stopped) return;
    if (frame.type !== "messages") return this.#ports.broadcast(frame);
    const before = this.#sequencer.position;
    // With a full buffer only the frame's existence is noted. Its messages are read from the log when there is place.
    if (this.#ports.full()) this.#sequencer.noteHead(frame.seq);
    else this.#sequencer.offer({ ...frame, recovered: false });
    this.#advance();
    // With a full buffer too frames put off the beat: what they show to be missing is read when there is place.
    if (this.#ports.full() || this.#sequencer.position !== before) {
      this.beat.frame(now());
      this.#ports.due(this);
    }
    this.#chase();
  }

  /** Takes the answer to a `joinRoom` of any connection. */
  onJoined({ after: asked, ...extras }: { after: number | undefined } & JoinExtras, page: JoinedFrame): void {
    if (this.stopped) return;
    const first = this.#state === "joining";
    const rejoined = this.#state === "lost";
    this.#state = "live";
    this.#isSkimming = false;
    const retentionMs = (page.retentionSeconds ?? RETENTION_SECONDS) * 1_000;
    this.#trustEmptyMs = Math.max(retentionMs / 2, retentionMs - MAX_REPLY_MS);
    // The index shows a membership a little later than it was written. A frame sent between reaches nobody, so a beat
    // confirms.
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

  /** Takes the answer to a question to the log. `crowded` means that messages of other rooms took the place. */
  onSynced(asked: number, page: CatchUp, crowded: boolean): void {
    if (!this.stopped) this.#apply(asked, page, crowded);
  }

  /** Takes the answer to a beat about members, who are not in the log. */
  onPresence(presence: PresenceRev | undefined, renewed: boolean | undefined): void {
    if (!this.stopped) this.#ports.compared(presence, renewed);
  }

  /** Goes on behind `seq`, unless it is further already, because nobody wants the messages up to there. */
  skipTo(seq: number): void {
    if (this.stopped) return;
    this.#isSkimming = false;
    this.#sequencer.skip(seq);
    this.#advance();
    this.#ask();
  }

  /** Called when no connection is left. */
  onDisconnected(): void {
    if (this.#state !== "live") return;
    this.#state = "lost";
    this.beat.askAt = Infinity;
    this.#clearTimers();
    this.#startRecovery(this.#at, true);
  }

  /** Called when the buffer has place for messages again. */
  onDrained(): void {
    if (this.stopped) return;
    this.#advance();
    this.#ask();
    // The beat may have been due while there was no place for an answer.
    this.#ports.due(this);
  }

  /**
   * Ends the subscription: the server refused the room, or the client was closed, and the room `resumes` when it
   * connects again.
   */
  end(reason: RoomcastError, resumes = false): void {
    if (this.stopped) return;
    this.stop(reason);
    this.#ports.ended(reason, resumes);
  }

  /** Ends the subscription without a word to the room. */
  stop(reason: RoomcastError): void {
    this.#state = "stopped";
    this.#clearTimers();
    this.joined.reject(reason);
    this.#release();
  }

  /** Resolves when nothing is missing, as far as is known, or when the subscription has ended. */
  caughtUp(): Promise<void> {
    const waiting = (this.#waiting ??= deferred());
    this.#release();
    return waiting.promise;
  }

  /** The position of a room that was joined. */
  get #at(): number {
    return this.position ?? 0;
  }

  /** True if messages are missing, and asking the log for them makes sense. */
  get #isMissing(): boolean {
    return this.syncable && this.#sequencer.behind;
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
    // With a full buffer the page is dropped, and read again when there is place. One from beyond the position,
    // asked for with a full buffer that has been read since, is dropped too: it could hide a hole before its messages.
    if (this.#ports.full() || asked > before) {
      this.#ask();
      return this.#release();
    }
    // Before `skims`, which may skip at once.
    this.#isSkimming = page.more;
    if (page.more && this.#ports.skims(page.seq)) return this.#release();
    this.#isSkimming = false;
    // Each run on its own, so that a hole is told between the messages where it is.
    for (const messages of runs(page.messages)) {
      this.#reportTruncation(asked, page, messages[0]?.seq ?? 0);
      const seq = messages.at(-1)?.seq;
      if (seq) this.#sequencer.offer({ after: asked, seq, messages, recovered: true });
      else if (page.seq === 0 && asked === this.resumeFrom) {
        this.#sequencer.emptied = true;
        this.#sawEmpty();
      }
      this.#advance();
      if (this.stopped || this.#ports.full()) return;
    }
    if (!this.#sequencer.behind) return;
    const progress = this.#at > before;
    if (progress) this.#attempts = 0;
    if (progress || (page.more && crowded && end === undefined)) return this.#ask();
    if (end === undefined && !page.more) {
      if (page.truncated && page.seq > 0) return this.#surrender(page.seq);
      if (this.#attempts >= SURRENDER_AFTER) {
        // A log that knows its head, and has nothing beyond it, is believed: the announced messages were never in it. A
        // beat looks again.
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

  /** Starts anew at the log's head. The position is beyond it, so it was of another log. */
  #restart(asked: number, page: CatchUp): void {
    const { seq } = page;
    // Broadcasts have moved the position since, so the answer is out of date.
    if (asked !== this.#sequencer.position) {
      this.#askLater();
      return this.#release();
    }
    this.#sequencer.restart(seq);
    if (!bringsState(page)) this.#ports.missed(seq, true);
    this.#ports.emit("truncated", { after: asked, seq, certain: false });
    this.#advance();
  }

  /** Hands over messages in order, and closes a recovery when nothing is missing any more. */
  #advance(): void {
    if (!this.#ports.full()) this.#deliver(this.#at);
    // A listener may have left the room.
    if (this.stopped) return;
    if (this.#state !== "live" || this.#sequencer.behind) return this.#release();
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

  /** Waits a little for messages that are missing, and then asks the log. */
  #chase(): void {
    if (!this.#isMissing || this.#isSkimming) return;
    if (this.beat.asking || this.#reorder.running || this.#retry.running) return;
    // The first broadcast after an empty log need not be the first message of the log, which only the log can tell.
    if (this.#sequencer.emptied) return this.#ask();
    this.#reorder.set(this.#times.reorderWindowMs, () => {
      if (!this.#isMissing) return;
      const after = this.#at;
      this.#startRecovery(after, true);
      this.#ports.emit("gap", { after, seq: this.#sequencer.highest });
      this.#ask();
    });
  }

  /** Asks the log for what is missing, if anything is. */
  #ask(): void {
    if (!this.#isMissing) return;
    this.#retry.clear();
    this.beat.askAt = now();
    this.#ports.due(this);
  }

  #askLater(): void {
    // Messages are given up after two seconds at least, however short the backoff: copies of the log's head are
    // younger.
    this.#retry.set(backoffDelay(this.#times.retry, this.#attempts) + LONGER_MS * this.#attempts++, () => this.#ask());
  }

  /**
   * Gives up the messages that are missing up to `limit`. Those that broadcasts have brought are delivered, and each
   * hole is told.
   */
  #surrender(limit: number): void {
    let missed: number | undefined;
    for (;;) {
      const after = this.#at;
      const seq = this.#sequencer.skipHole(limit);
      if (seq === undefined) break;
      missed = this.#at;
      // "All that is retained" may be nothing, and nobody was promised more.
      if (after > 0 || this.emptyAt !== undefined) this.#ports.emit("truncated", { after, seq, certain: true });
      this.#deliver(after);
      if (this.stopped || this.#ports.full()) break;
    }
    if (missed !== undefined) this.#ports.missed(missed, false);
    if (this.stopped || this.#ports.full()) return this.#release();
    this.#attempts = 0;
    this.#advance();
    this.#chase();
  }

  /** Hands over the messages that follow without a gap. */
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

  /**
   * Tells a hole before `seq` once, although both connections of a hand-over report it. No message has the number 0,
   * which stands for "none" here.
   */
  #reportTruncation(asked: number, page: CatchUp, seq: number): void {
    const { position = 0, emptied } = this.#sequencer;
    const { truncated } = page;
    let isHole: boolean;
    if (seq === 0) isHole = truncated && page.seq === 0 && asked === position && !emptied;
    else if (truncated) isHole = position < seq - 1;
    // The log, asked for all that is retained, does not say what it has dropped since it was seen empty.
    else isHole = asked === 0 && emptied && now() - (this.emptyAt ?? Infinity) >= this.#trustEmptyMs;
    if (!isHole) return;
    if (!bringsState(page)) this.#ports.missed(Math.max(seq - 1, position + 1), false);
    this.#ports.emit("truncated", { after: position, seq, certain: truncated && seq > 0 });
  }

  #release(): void {
    if (this.#state === "lost" || this.#isMissing) return;
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  #clearTimers(): void {
    this.#reorder.clear();
    this.#retry.clear();
  }
}
