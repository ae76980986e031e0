import type { Connection } from "./connection.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import { MAX_SYNC_ROOMS } from "./limits.js";
import type { Subscription } from "./subscription.js";

export interface SyncerTimes {
  syncIntervalMs: number;
  syncTimeoutMs: number;
}

export interface SyncerPorts {
  /** The rooms that the client is in. */
  subscriptions(): Iterable<Subscription>;
  error(error: RoomcastError): void;
}

/**
 * Asks the log what the rooms have missed, on the current connection: for all rooms every `syncIntervalMs`, which is also
 * the heartbeat and keeps the connection from idling out, and for one room as soon as it has a gap.
 */
export class Syncer {
  readonly #times: SyncerTimes;
  readonly #ports: SyncerPorts;
  readonly #wanted = new Set<Subscription>();
  readonly #asked = new Set<Subscription>();
  #connection: Connection | undefined;
  #beatTimer: ReturnType<typeof setTimeout> | undefined;
  #beating = false;
  #flushQueued = false;

  constructor(times: SyncerTimes, ports: SyncerPorts) {
    this.#times = times;
    this.#ports = ports;
  }

  /** Uses `connection` from now on; `undefined` pauses. */
  use(connection: Connection | undefined): void {
    this.#connection = connection;
    this.#beating = false;
    this.#asked.clear();
    this.#schedule();
    if (connection !== undefined) this.#queueFlush();
  }

  /** Asks for one room soon, together with others that want it in the same moment. */
  ask(subscription: Subscription): void {
    this.#wanted.add(subscription);
    this.#queueFlush();
  }

  /** Beats now: something suggests that the connection is dead, or that the device slept. */
  probe(): void {
    void this.#beat();
  }

  #schedule(): void {
    clearTimeout(this.#beatTimer);
    if (this.#connection === undefined) return;
    // Up to a tenth early, so that clients that connected together do not beat together for ever.
    const delay = this.#times.syncIntervalMs * (1 - Math.random() / 10);
    this.#beatTimer = setTimeout(() => void this.#beat(), delay);
  }

  async #beat(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined || this.#beating) return;
    this.#beating = true;
    this.#schedule();
    const due = [...this.#ports.subscriptions()].filter((room) => room.syncable && !this.#asked.has(room));
    // Also without rooms: the frame is the heartbeat. One after another: many rooms are no reason for a burst.
    for (let at = 0; at === 0 || at < due.length; at += MAX_SYNC_ROOMS) {
      await this.#sync(connection, due.slice(at, at + MAX_SYNC_ROOMS));
      if (connection !== this.#connection) return;
    }
    this.#beating = false;
  }

  #queueFlush(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    queueMicrotask(() => {
      this.#flushQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const due = [...this.#wanted].filter((room) => !this.#asked.has(room));
    for (const room of due) this.#wanted.delete(room);
    const rooms = due.filter((room) => room.connected);
    for (let at = 0; at < rooms.length; at += MAX_SYNC_ROOMS) {
      void this.#sync(connection, rooms.slice(at, at + MAX_SYNC_ROOMS));
    }
  }

  async #sync(connection: Connection, candidates: Subscription[]): Promise<void> {
    // Without a prototype, because rooms may be called `__proto__` and `constructor`.
    const rooms = Object.create(null) as Record<string, number>;
    // While the frames before this one were answered, a room may have been left or asked for by itself.
    const asked = candidates.filter((room) => room.resumeFrom !== undefined && room.connected && !this.#asked.has(room));
    for (const room of asked) {
      rooms[room.roomId] = room.resumeFrom ?? 0;
      this.#asked.add(room);
    }
    try {
      const reply = await connection.request({ action: "sync", rooms }, "synced", this.#times.syncTimeoutMs);
      this.#done(connection, asked);
      for (const room of asked) {
        const page = Object.hasOwn(reply.rooms, room.roomId) ? reply.rooms[room.roomId] : undefined;
        if (page === undefined) room.onSyncFailed();
        else room.onSynced(rooms[room.roomId] ?? 0, page);
      }
    } catch (thrown) {
      const error = asRoomcastError(thrown, "protocol");
      this.#done(connection, asked);
      for (const room of asked) room.onSyncFailed();
      // A half-open connection looks like this, and in no other way.
      if (error.code === "timeout") {
        connection.drop(new RoomcastError("disconnected", "the connection does not answer", { cause: error }));
        return;
      }
      if (connection.end === undefined) this.#ports.error(error);
    }
  }

  /** After a change of connection `#asked` belongs to the new one. */
  #done(connection: Connection, asked: Subscription[]): void {
    if (connection !== this.#connection) return;
    for (const room of asked) this.#asked.delete(room);
    if (this.#wanted.size > 0) this.#queueFlush();
  }
}
