import { type CallOptions, unlessAborted } from "./abort.js";
import { asyncDispose } from "./disposal.js";
import { Emitter } from "./emitter.js";
import { RoomcastError } from "./errors.js";
import type { ConnectionState, StateChange } from "./lifecycle.js";
import { type RoomcastOptions, settingsOf } from "./options.js";
import { Room } from "./room.js";
import { RoomRegistry } from "./room-registry.js";
import type { RoomOptions } from "./room-types.js";
import { Session } from "./session.js";
import { quiet } from "./timing.js";

export interface ClientEvents {
  /** The connection's state has changed. */
  state: StateChange;
  /**
   * An error that no call reports: of an attempt to connect, of a beat, of a frame that makes no sense. A `retryable`
   * error means that the library tries again.
   */
  error: RoomcastError;
}

/** A connection to Roomcast, kept open, and the rooms on it. */
export class Roomcast extends Emitter<ClientEvents> {
  readonly #session: Session;
  readonly #rooms = new RoomRegistry();

  /** Throws `bad_request` if an option is wrong. Does not connect. */
  constructor(options: RoomcastOptions) {
    super();
    this.#session = new Session(settingsOf(options), this);
  }

  get state(): ConnectionState {
    return this.#session.state;
  }

  /**
   * Connects and stays connected until `close()`. Resolves when the first connection is open. Rejects with an error
   * that retrying cannot cure, or with `closed`. Calls made before it resolves wait for the connection.
   *
   * Rooms that were joined when the client was closed are joined again, and go on where they stopped (`Room.seq`). So a
   * listener is given again what an iterator beside it had not read.
   */
  connect({ signal }: CallOptions = {}): Promise<void> {
    return quiet(unlessAborted(signal, () => this.#session.connect()));
  }

  /**
   * Closes the connection and rejects every call under way with `closed`. Rooms go to `left` and their iterators end;
   * `connect()` brings back those that are not left or released until then.
   */
  close(): void {
    this.#session.close(new RoomcastError("closed", "the client is closed"));
  }

  /** `close()`, for `await using`; releases every room too. */
  async [asyncDispose](): Promise<void> {
    this.close();
    await Promise.all(this.#rooms.all().map((room) => room.release()));
  }

  /**
   * The room with this id, always the same object until it is released. `T` is the type of its messages' data, sent and
   * received. Only `parse` checks received data. Throws `bad_request` for a bad id.
   */
  room<T = unknown>(id: string, options: RoomOptions<T> = {}): Room<T> {
    const room = this.#rooms.get(id, () => new Room<T>(id, this.#session, this.#rooms) as Room<unknown>) as Room<T>;
    room.configure(options);
    return room;
  }

  /** Releases a room, if there is one with this id: see `Room.release()`. */
  release(id: string): Promise<void> {
    return this.#rooms.find(id)?.release() ?? Promise.resolve();
  }
}
