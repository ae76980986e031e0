import type { Call, Observer } from "./model/observer.js";
import type { VirtualTime } from "./virtual-time.js";

/** A room with broadcasts at least this often is active. */
const ACTIVE_MS = 10_000;
/** A beat that runs within this time of the first broadcast may still read the head row that was there before. */
const NEWS_MS = 2_000;
/** The shortest `syncAfterMs`; a longer one in an active room was stretched. */
const SYNC_MIN_MS = 30_000;
/**
 * A call without an answer costs its timeout on a slow server, the longest wait before the next one and what the server
 * asks for.
 */
const CALL_MS = 30_000 + 10_000 + 2_000;

/** Time after which a late answer counts as missing, until it comes. */
const PROMPT_MS = 2_000;

/**
 * Longest time that a client may be deaf. A beat is due at the latest 37.5 s after the last frame, the next message
 * comes within 10 s, and the broadcasts, replies and the index take their time; so do handshakes that nobody answers,
 * which are seldom counted in full.
 */
export const DEAF_LIMIT_MS = 60_000;

interface Interval {
  from: number;
  to: number;
}

interface Activity {
  since: number;
  last: number;
  ears: Set<Ear>;
}

/** A join or beat of a client, for one of its rooms. */
interface Sent {
  sentAt: number;
  servedAt: number | undefined;
  /** The time of the next beat that the client was told. */
  nextAt: number;
}

/** One client in one room. */
interface Ear {
  client: string;
  room: string;
  activity: Activity;
  lastPush: number;
  /** The first answered join or beat since the room is active. */
  beatSince: number | undefined;
  lastCall: Sent | undefined;
  troubles: Interval[];
  failedPost: number | undefined;
  isReported: boolean;
}

/**
 * Measures how long clients are deaf. A client in a room is deaf from its last push on, or from its first answered join
 * or beat in the room's present activity if it has had none, while the room is active (broadcasts at least every 10 s).
 * The time of a trouble is not counted, for as long as the trouble may last:
 *
 * - a post that fails (lost, given up, answered 410): until the room's next broadcast;
 * - a join or beat that gets no good answer: until the client's next one, 42 s at most, or until an answer that comes
 *   late;
 * - a lost connection or failed handshake: until the next handshake begins, 30 s at most (40 s if it stalled);
 * - an answer with a `syncAfterMs` stretched beyond 30 s: from 30 s on until then.
 */
export class Watch implements Observer {
  readonly wrong: string[] = [];
  /** Lines of the run, if they are wanted. */
  readonly timeline: string[] = [];
  /** The longest that anyone was deaf, in milliseconds. */
  longest = 0;
  readonly #time: VirtualTime;
  readonly #start: number;
  readonly #isTold: boolean;
  readonly #rooms = new Map<string, Activity>();
  readonly #ears = new Map<string, Map<string, Ear>>();
  readonly #absent = new Map<string, Interval[]>();

  constructor(time: VirtualTime, isTold: boolean) {
    this.#time = time;
    this.#start = time.now;
    this.#isTold = isTold;
  }

  /** The client's application is in the room. */
  joined(client: string, room: string): void {
    const activity = this.#activity(room);
    const ear: Ear = {
      client,
      room,
      activity,
      lastPush: Number.NEGATIVE_INFINITY,
      beatSince: activity.since + NEWS_MS <= this.#time.now ? this.#time.now : undefined,
      lastCall: undefined,
      troubles: [],
      failedPost: undefined,
      isReported: false,
    };
    let ears = this.#ears.get(client);
    if (ears === undefined) this.#ears.set(client, (ears = new Map()));
    ears.set(room, ear);
    activity.ears.add(ear);
  }

  left(client: string, room: string): void {
    const ear = this.#ears.get(client)?.get(room);
    if (ear === undefined) return;
    this.#ears.get(client)?.delete(room);
    ear.activity.ears.delete(ear);
  }

  dialled(client: string): void {
    this.note(client, () => "dials");
    const absence = this.#absent.get(client)?.at(-1);
    if (absence !== undefined) absence.to = Math.min(absence.to, this.#time.now);
  }

  ended(client: string, backWithinMs: number): void {
    this.note(client, () => "has lost its connection");
    const { now } = this.#time;
    let absences = this.#absent.get(client);
    if (absences === undefined) this.#absent.set(client, (absences = []));
    absences.push({ from: now, to: now + backWithinMs });
  }

  blamed(client: string, what: string): void {
    this.note(client, () => what);
    this.wrong.push(`${client} ${what} (at ${((this.#time.now - this.#start) / 1_000).toFixed(1)} s)`);
  }

  called(client: string, action: string, rooms: readonly string[]): Call {
    this.note(client, () => `sends ${action} ${rooms.join()}`);
    if (action !== "sync" && action !== "joinRoom") return { served: () => {} };
    const calls = new Map<string, Sent>();
    for (const room of rooms) {
      const ear = this.#ears.get(client)?.get(room);
      if (ear === undefined) continue;
      ear.troubles.push(...this.#troublesOfCall(ear));
      ear.lastCall = { sentAt: this.#time.now, servedAt: undefined, nextAt: 0 };
      calls.set(room, ear.lastCall);
    }
    return { served: (served, syncAfterMs) => this.#served(client, calls, served, syncAfterMs) };
  }

  pushed(client: string, room: string): void {
    this.note(client, () => `is pushed ${room}`);
    const ear = this.#ears.get(client)?.get(room);
    if (ear === undefined) return;
    this.#measure(ear);
    ear.lastPush = this.#time.now;
    ear.failedPost = undefined;
    ear.troubles.length = 0;
    ear.isReported = false;
  }

  postFailed(client: string, room: string): void {
    const ear = this.#ears.get(client)?.get(room);
    if (ear !== undefined) ear.failedPost ??= this.#time.now;
  }

  broadcast(room: string): void {
    const { now } = this.#time;
    const activity = this.#activity(room);
    const isNew = now - activity.last > ACTIVE_MS;
    for (const ear of activity.ears) {
      if (isNew) ear.beatSince = undefined;
      else this.#measure(ear);
      if (ear.failedPost !== undefined) ear.troubles.push({ from: ear.failedPost, to: now });
      ear.failedPost = undefined;
    }
    if (isNew) activity.since = now;
    activity.last = now;
  }

  note(client: string, text: () => string): void {
    if (this.#isTold) this.timeline.push(`${((this.#time.now - this.#start) / 1_000).toFixed(3)} ${client} ${text()}`);
  }

  #served(client: string, calls: ReadonlyMap<string, Sent>, served: readonly string[], ms: number): void {
    const { now } = this.#time;
    for (const room of served) {
      const ear = this.#ears.get(client)?.get(room);
      const call = calls.get(room);
      if (ear === undefined || call === undefined) continue;
      if (now - call.sentAt > PROMPT_MS) ear.troubles.push({ from: call.sentAt, to: now });
      call.servedAt = now;
      call.nextAt = now + ms;
      // The server has read before now, and after the frame was sent.
      if (call.sentAt >= ear.activity.since + NEWS_MS) ear.beatSince ??= now;
    }
  }

  #measure(ear: Ear): void {
    const { now } = this.#time;
    const { since } = ear.activity;
    const start = ear.lastPush >= since ? ear.lastPush : ear.beatSince;
    if (start === undefined || now - start <= Math.min(this.longest, DEAF_LIMIT_MS)) return;
    const troubles = [...ear.troubles, ...this.#troublesOfCall(ear), ...(this.#absent.get(ear.client) ?? [])];
    if (ear.failedPost !== undefined) troubles.push({ from: ear.failedPost, to: now });
    const deaf = now - start - covered(troubles, start, now);
    this.longest = Math.max(this.longest, deaf);
    if (deaf <= DEAF_LIMIT_MS || ear.isReported) return;
    ear.isReported = true;
    this.blamed(
      ear.client,
      `is deaf in ${ear.room} for ${(deaf / 1_000).toFixed(1)} s, since ${((start - this.#start) / 1_000).toFixed(1)}`,
    );
  }

  /** Troubles that the ear's last call has made until now. */
  #troublesOfCall({ lastCall, lastPush }: Ear): Interval[] {
    const { now } = this.#time;
    if (lastCall === undefined) return [];
    const { sentAt, servedAt, nextAt } = lastCall;
    if (servedAt === undefined) return [{ from: sentAt, to: Math.min(now, sentAt + CALL_MS) }];
    // A push since then makes the client beat as in any active room, unless it is of a message that the answer had
    // already.
    if (servedAt + PROMPT_MS < lastPush) return [];
    return [{ from: servedAt + SYNC_MIN_MS, to: Math.min(now, nextAt) }];
  }

  #activity(room: string): Activity {
    let activity = this.#rooms.get(room);
    if (activity === undefined) {
      activity = { since: Number.POSITIVE_INFINITY, last: Number.NEGATIVE_INFINITY, ears: new Set() };
      this.#rooms.set(room, activity);
    }
    return activity;
  }
}

/** The part of the time from `start` to `end` that the intervals cover together. */
function covered(intervals: Interval[], start: number, end: number): number {
  let total = 0;
  let at = start;
  for (const { from, to } of intervals.sort((one, other) => one.from - other.from)) {
    const begin = Math.max(at, from);
    const stop = Math.min(to, end);
    if (stop > begin) {
      total += stop - begin;
      at = stop;
    }
  }
  return total;
}
