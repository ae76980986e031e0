import { longestSilence, SLACK_MS } from "./beat.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import type { SyncedFrame } from "./frames.js";
import { patience } from "./join-pace.js";
import { SYNC_ROOMS } from "./limits.js";
import type { Link } from "./link.js";
import { type Logger, log } from "./logger.js";
import type { Subscription } from "./subscription.js";
import { type Backoff, backoffDelay, now, retryDelay, Timer } from "./timing.js";

interface SyncerTimes {
  syncTimeoutMs: number;
  retry: Backoff;
  logger?: Logger;
}

interface SyncerPorts {
  /** The rooms that the client is in. */
  readonly subscriptions: ReadonlyMap<string, Subscription>;
  error(error: RoomcastError): void;
}

/**
 * Questions to the log about messages that rooms have missed, on the connection that carries everything: at once for a
 * room with a gap, and for every room when its beat is due. A beat also shows that the connection lives, keeps it from
 * idling out, and renews memberships.
 *
 * All rooms have one timer. A beat's frame is filled up with the rooms that are due next, so that rooms come to share
 * beats.
 */
export class Syncer {
  readonly #times: SyncerTimes;
  readonly #ports: SyncerPorts;
  /** Rooms in a frame without an answer. */
  readonly #asked = new Set<Subscription>();
  #link: Link | undefined;
  #beating = false;
  #failures = 0;
  /** Number of timeouts in a row: a slow server gets more time. */
  #timeouts = 0;
  #pausedUntil = 0;
  /** The time of the connection's own beat, if no room is due before. */
  #idleAt = 0;
  readonly #timer = new Timer();
  #timerAt = Infinity;

  constructor(times: SyncerTimes, ports: SyncerPorts) {
    this.#times = times;
    this.#ports = ports;
  }

  /** Uses this connection from now on; `undefined` pauses. */
  use(link: Link | undefined): void {
    this.#link = link;
    this.#beating = false;
    this.#asked.clear();
    this.#stayAwake();
    // A hand-over joins rooms on this connection, while the beats went over the one before.
    for (const room of this.#ports.subscriptions.values()) if (link?.hasJoined(room)) room.beat.confirm(now());
    this.replan();
  }

  /** Notes that a room's beat may be due earlier than before. */
  due(room: Subscription): void {
    const { due } = room.beat;
    // What may not be asked now is planned when that changes: with an answer, or when the buffer has place.
    if (due >= this.#timerAt || !this.#canAsk(room)) return;
    // Later, so that rooms that ask in the same moment share a frame.
    this.#timerAt = due;
    queueMicrotask(() => this.#run());
  }

  /** Beats as soon as it may, because the connection may be dead, or the device may have slept. */
  probe(): void {
    // A beat under way shows the same.
    if (this.#beating) return;
    this.#idleAt = 0;
    this.#run();
  }

  /** Sets the timer to the next time at which something is due. */
  replan(): void {
    this.#timer.clear();
    this.#timerAt = Infinity;
    if (!this.#link) return;
    let next = Math.min(this.#idleAt, now() + longestSilence());
    for (const room of this.#ports.subscriptions.values()) {
      if (this.#canAsk(room)) next = Math.min(next, this.#goesAt(room));
    }
    this.#timerAt = Math.max(next, this.#pausedUntil);
    this.#timer.set(this.#timerAt - now(), () => this.#run());
  }

  /** Notes a frame on the connection, which is not idle for a while. */
  #stayAwake(): void {
    this.#idleAt = now() + longestSilence();
  }

  /** True if the room may be in a frame. With a lease it may with a full buffer too: its membership would end. */
  #canAsk(room: Subscription): boolean | undefined {
    return (room.syncable || room.beat.leased) && !this.#asked.has(room) && this.#link?.hasJoined(room);
  }

  /**
   * The time at which a frame about the room can go. Rooms that wait for the answer to a beat are looked at again after
   * it.
   */
  #goesAt({ beat }: Subscription): number {
    if (!this.#beating) return beat.due;
    return this.#failures > 0 ? Infinity : beat.askAt;
  }

  #run(): void {
    const link = this.#link;
    const time = now();
    if (!link || link.connection.end) return;
    if (time < this.#pausedUntil) return this.replan();
    const rooms = [...this.#ports.subscriptions.values()].filter((room) => this.#canAsk(room));
    // After a failure one frame at a time goes out, for everything that is due.
    const asking = this.#failures > 0 ? [] : rooms.filter((room) => room.beat.askAt <= time);
    for (let at = 0; at < asking.length; at += SYNC_ROOMS) void this.#sync(link, asking.slice(at, at + SYNC_ROOMS));
    const others = rooms.filter((room) => this.#canAsk(room)).sort((a, b) => a.beat.due - b.beat.due);
    const first = Math.min(this.#idleAt, others[0]?.beat.due ?? Infinity);
    // Beats go one after another: many rooms are no reason for a burst.
    if (!this.#beating && first <= time + SLACK_MS) {
      const riding = others.filter(({ beat }) => beat.due <= time + SLACK_MS || beat.ridesAlong(time));
      void this.#beat(link, riding.slice(0, SYNC_ROOMS));
    }
    this.replan();
  }

  async #beat(link: Link, rooms: Subscription[]): Promise<void> {
    this.#beating = true;
    this.#stayAwake();
    await this.#sync(link, rooms);
    if (link !== this.#link) return;
    this.#beating = false;
    this.#run();
  }

  async #sync(link: Link, asked: Subscription[]): Promise<void> {
    for (const room of asked) this.#asked.add(room);
    const rooms = new Map(asked.map((room) => [room.roomId, room.resumeFrom ?? 0]));
    const sentAt = now();
    const timeoutMs = patience(this.#times.syncTimeoutMs, this.#timeouts);
    const lists = asked.flatMap((room) =>
      room.presenceRev === undefined ? [] : [[room.roomId, room.presenceRev] as const],
    );
    const presence = lists.length > 0 && { presence: Object.fromEntries(lists) };
    const request = link.connection.request(
      { action: "sync", rooms: Object.fromEntries(rooms), ...presence },
      "synced",
      timeoutMs,
    );
    link.syncing(rooms.keys(), request);
    try {
      const reply = await request;
      this.#failures = this.#timeouts = 0;
      this.#answered(link, asked, rooms, reply, sentAt);
    } catch (thrown) {
      this.#failed(link, asked, asRoomcastError(thrown));
    }
    if (link === this.#link) this.replan();
  }

  #answered(link: Link, asked: Subscription[], rooms: Map<string, number>, reply: SyncedFrame, sentAt: number): void {
    const { syncAfterMs, renewed, forbidden } = reply;
    const time = now();
    if (renewed?.length) log(this.#times.logger, "debug", "rooms renewed", { rooms: renewed });
    if (link === this.#link) this.#stayAwake();
    // A map, because a room may be called `constructor`.
    const pages = new Map(Object.entries(reply.rooms));
    const lists = new Map(Object.entries(reply.presence ?? {}));
    const crowded = [...pages.values()].some(({ messages }) => messages.length > 0);
    for (const room of asked) {
      if (link === this.#link) this.#asked.delete(room);
      const page = pages.get(room.roomId);
      if (page) {
        // Until the index shows a row that was put back, messages may be missed: the beat is as near as the server says.
        const lost = renewed?.includes(room.roomId);
        room.beat.synced(time, sentAt, syncAfterMs, lost || page.messages.length > 0 || page.more);
        room.onSynced(rooms.get(room.roomId) ?? 0, page, crowded);
        room.onPresence(lists.get(room.roomId), lost);
      } else if (forbidden?.includes(room.roomId)) {
        room.end(new RoomcastError("forbidden", "the room is forbidden", room));
      } else {
        // The room's log could not be read, or there was no time for it.
        room.beat.failed(time, time + backoffDelay(this.#times.retry, room.beat.leftOut++));
      }
    }
  }

  #failed(link: Link, asked: Subscription[], error: RoomcastError): void {
    // The next connection asks anew.
    if (error.code === "disconnected") return;
    this.#timeouts = error.code === "timeout" ? this.#timeouts + 1 : 0;
    const time = now();
    const retryAt = time + retryDelay(this.#times.retry, this.#failures++, error);
    if (link !== this.#link || link.connection.end) return;
    this.#pausedUntil = Math.max(this.#pausedUntil, retryAt);
    this.#idleAt = Math.max(this.#idleAt, this.#pausedUntil);
    for (const room of asked) {
      this.#asked.delete(room);
      room.beat.failed(time, this.#pausedUntil);
    }
    this.#ports.error(error);
  }
}
