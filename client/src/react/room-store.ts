import type { Room, Roomcast, RoomcastError, RoomStatus } from "../index.js";
import { Shared, Watched } from "./shared.js";

/** A room at one moment. */
export interface RoomSnapshot {
  status: RoomStatus;
  /** The newest error since the room was last joined. */
  error: RoomcastError | undefined;
}

/** The snapshot before a room is joined, and on a server. */
export const NOT_JOINED: RoomSnapshot = Object.freeze({ status: "left", error: undefined });

const NOT_FAILURES: ReadonlySet<string> = new Set(["left", "closed", "aborted", "bad_data"]);

/** Parts that a room is joined with besides its messages. */
interface Extras {
  state: boolean;
  presence: unknown;
}

/** A room that components hold together. It is joined while there are holders. */
export class RoomStore<T> {
  readonly #client: Roomcast;
  readonly #room: Room<T>;
  readonly #held = new Shared(() => this.#stay());
  readonly #watched = new Watched(() => this.#watch());
  /** The `after` of the first join. */
  #after: number | undefined;
  /** Parts that the room is joined with. */
  #extras: Extras = { state: false, presence: undefined };
  /** True if the room was joined since there are holders: a later join goes on where it stopped. */
  #joined = false;
  /** True if the room was joined here. Otherwise it is the application's to leave. */
  #isOurs = false;
  #stopReading: (() => void) | undefined;
  #snapshot = NOT_JOINED;

  constructor(client: Roomcast, room: Room<T>) {
    this.#client = client;
    this.#room = room;
  }

  readonly subscribe = this.#watched.subscribe;

  readonly snapshot = (): RoomSnapshot => {
    const { status } = this.#room;
    // The room may have changed while nobody watched.
    if (status !== this.#snapshot.status) this.#snapshot = { status, error: undefined };
    return this.#snapshot;
  };

  /**
   * Joins the room, until every holder has let go. The `after` of the first holder counts, and the extras of all of
   * them.
   */
  hold(after: number | undefined, { state, presence }: Extras = { state: false, presence: undefined }): () => void {
    this.#after ??= after;
    const { state: hadState, presence: had } = this.#extras;
    this.#extras = { state: state || hadState, presence: had ?? presence };
    const isMore = this.#extras.state !== hadState || this.#extras.presence !== had;
    const release = this.#held.use();
    if (isMore && this.#room.status !== "left") this.#extend();
    return release;
  }

  /** Gives other data of the client. */
  say(presence: unknown): void {
    if (JSON.stringify(presence) === JSON.stringify(this.#extras.presence)) return;
    this.#extras.presence = presence;
    // Data that was not taken is sent when the room is joined again.
    this.#room.presence.update(presence === true ? undefined : presence).catch(() => {});
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
        // The application has left a room that components hold. The join comes later: it may be releasing the room, or
        // closing the client.
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
      this.#extras = { state: false, presence: undefined };
      this.#stopReading?.();
      this.#stopReading = undefined;
      if (!this.#isOurs) return;
      this.#isOurs = false;
      // Nobody is left to be told of a failure. The membership ends with the connection at the latest.
      room.leave().catch(() => {});
    };
  }

  #join(): void {
    const room = this.#room;
    if (room.status !== "left") return this.#extend();
    // A client that is not connected yet joins the room when it is.
    if (this.#client.state === "closed") return;
    this.#isOurs = true;
    // Messages are for those who listen now. They would wait for a first listener, and in the end stop the room, unless
    // it has state.
    if (!this.#extras.state) this.#stopReading ??= room.on("message", () => {});
    const after = this.#joined ? room.seq : this.#after;
    room
      .join({ ...this.#extras, ...(after !== undefined && { after }) })
      .catch((error: RoomcastError) => this.#failed(error));
  }

  /** Asks for the parts that the room was joined without. */
  #extend(): void {
    const { state, presence } = this.#extras;
    if (state || presence !== undefined)
      this.#room.join({ state, presence }).catch((error: RoomcastError) => this.#failed(error));
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
    // A leave that was asked for is no failure, and one bad message is no failure of the room.
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
