import { Emitter } from "./emitter.js";
import type { RoomcastError } from "./errors.js";
import type { ConnectionState, StateChange } from "./lifecycle.js";
import { type RoomcastOptions, settingsOf } from "./options.js";
import { Room } from "./room.js";
import { Session } from "./session.js";

export interface ClientEvents {
  /** The connection's state has changed. */
  state: StateChange;
  /**
   * Something failed that no call reports: an attempt to connect, a heartbeat, a frame that makes no sense. If it is
   * `retryable` the library is retrying.
   */
  error: RoomcastError;
}

/** A connection to Roomcast, kept open, and the rooms on it. */
export class Roomcast {
  readonly #events = new Emitter<ClientEvents>();
  readonly #session: Session;
  readonly #rooms = new Map<string, Room<never>>();

  /** Throws `bad_request` if an option is wrong. Does not connect. */
  constructor(options: RoomcastOptions) {
    this.#session = new Session(settingsOf(options), {
      changed: (change) => this.#events.emit("state", change),
      error: (error) => this.#events.emit("error", error),
    });
  }

  get state(): ConnectionState {
    return this.#session.state;
  }

  /**
   * Connects and stays connected until `close()`. Resolves when the first connection is open; rejects with an error that
   * retrying cannot cure, or with `closed`. Nobody has to wait for it: calls made meanwhile wait for the connection.
   */
  connect(): Promise<void> {
    return this.#session.connect();
  }

  /** Closes the connection, leaves every room and rejects every call under way with `closed`. `connect()` starts anew. */
  close(): void {
    this.#session.close();
  }

  /** The room with this id, always the same object. `T` is the type of its messages' data. */
  room<T = unknown>(id: string): Room<T> {
    let room = this.#rooms.get(id) as Room<T> | undefined;
    if (room === undefined) {
      room = new Room<T>(id, this.#session);
      this.#rooms.set(id, room as unknown as Room<never>);
    }
    return room;
  }

  /** Calls `listener` for each `event`; returns a function that stops it. */
  on<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    return this.#events.on(event, listener);
  }

  /** Calls `listener` for the next `event` only. */
  once<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    return this.#events.once(event, listener);
  }

  off<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): void {
    this.#events.off(event, listener);
  }
}
