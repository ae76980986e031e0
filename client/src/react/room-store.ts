import type { Room, Roomcast, RoomcastError, RoomStatus } from "../index.js";
import { Shared, Watched } from "./shared.js";

/** A room at one moment. */
export interface RoomSnapshot {
  status: RoomStatus;
  /** Why it is not joined: the newest error since it last was. */
  error: RoomcastError | undefined;
}

/** Before a room is joined, and so on a server. */
export const NOT_JOINED: RoomSnapshot = Object.freeze({ status: "left", error: undefined });

const NOT_FAILURES: ReadonlySet<string> = new Set(["left", "closed", "aborted", "bad_data"]);

/** A room that components hold together: joined while there are holders. */
export class RoomStore<T> {
  readonly #client: Roomcast;
  readonly #room: Room<T>;
  readonly #held = new Shared(() => this.#stay());
  readonly #watched = new Watched(() => this.#watch());
  /** The `after` of the first join. */
  #after: number | undefined;
  /** It was joined since there are holders: a later join goes on where it stopped. */
  #joined = false;
  /** Stops the listener of a room that was joined here; without one, the room is the application's to leave. */
  #stopReading: (() => void) | undefined;
  #snapshot = NOT_JOINED;

  constructor(client: Roomcast, room: Room<T>) {
    this.#client = client;
    this.#room = room;
  }

  readonly subscribe = this.#watched.subscribe;

  readonly snapshot = (): RoomSnapshot => {
    const { status } = this.#room;
    // It may have changed while nobody watched.
    if (status !== this.#snapshot.status) this.#snapshot = { status, error: undefined };
    return this.#snapshot;
  };

  /** Joins the room, until every holder has let go. The `after` of the first holder counts. */
  hold(after: number | undefined): () => void {
    this.#after ??= after;
    return this.#held.use();
  }

  #stay(): () => void {
    const room = this.#room;
    let held = true;
    this.#joined = room.status === "joined" || room.status === "recovering";
    const stops = [
      room.on("joined", () => {
        this.#joined = true;
      }),
      room.on("left", ({ error }) => {
        // By the application, while components hold it. Not at once: it may be releasing the room, or closing the client.
        if (error === undefined) queueMicrotask(() => held && this.#join());
      }),
      this.#client.on("state", ({ previous }) => {
        if (previous === "closed") this.#join();
      }),
    ];
    this.#join();
    return () => {
      held = false;
      for (const stop of stops) stop();
      this.#after = undefined;
      if (this.#stopReading === undefined) return;
      this.#stopReading();
      this.#stopReading = undefined;
      // Nobody is left to be told that it failed; the membership ends with the connection at the latest.
      room.leave().catch(() => {});
    };
  }

  #join(): void {
    const room = this.#room;
    // Before `connect()`: joined when it is called.
    if (room.status !== "left" || this.#client.state === "closed") return;
    // Messages are for those who listen now: without a listener they would wait for one, and in the end stop the room.
    this.#stopReading ??= room.on("message", () => {});
    const after = this.#joined ? room.seq : this.#after;
    room.join(after === undefined ? {} : { after }).catch((error: RoomcastError) => this.#failed(error));
  }

  #watch(): () => void {
    const room = this.#room;
    const stops = [
      room.on("status", ({ status }) => {
        this.#set({ status, error: status === "joined" ? undefined : this.#snapshot.error });
      }),
      room.on("error", (error) => this.#failed(error)),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  #failed(error: RoomcastError): void {
    // What was asked for is no failure, and one bad message is none of the room.
    if (NOT_FAILURES.has(error.code) || this.#room.status === "joined") return;
    this.#set({ status: this.#room.status, error });
  }

  #set(snapshot: RoomSnapshot): void {
    this.#snapshot = snapshot;
    this.#watched.notify();
  }
}

const stores = new WeakMap<Room<never>, RoomStore<never>>();

/** The store of a room, always the same. */
export function roomStore<T>(client: Roomcast, room: Room<T>): RoomStore<T> {
  const key = room as unknown as Room<never>;
  let store = stores.get(key) as RoomStore<T> | undefined;
  if (store === undefined) {
    store = new RoomStore<T>(client, room);
    stores.set(key, store as unknown as RoomStore<never>);
  }
  return store;
}
