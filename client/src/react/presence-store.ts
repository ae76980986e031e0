import type { Member, Presence } from "../index.js";
import { Watched } from "./shared.js";

/** The members of a room at one moment. */
export interface PresenceSnapshot<P = unknown> {
  /** Members by ascending id. */
  members: readonly Member<P>[];
  count: number;
  /** True if `members` has everybody: not before the list is there, nor in a room that is too large for one. */
  listed: boolean;
}

/** The snapshot before a room is joined, and on a server. */
export const NOBODY: PresenceSnapshot<never> = Object.freeze({ members: Object.freeze([]), count: 0, listed: false });

/** The part of a `Room` that `usePresence` needs, whatever the type of its messages. */
export interface Attended {
  readonly presence: Presence;
  on(event: "joined" | "left", listener: () => void): () => void;
}

/** A room's members, as React reads them. */
class PresenceStore {
  readonly #room: Attended;
  readonly #watched: Watched;
  readonly subscribe: Watched["subscribe"];
  #snapshot: PresenceSnapshot = NOBODY;

  constructor(room: Attended) {
    this.#room = room;
    this.#watched = new Watched(() => this.#watch());
    this.subscribe = this.#watched.subscribe;
  }

  readonly snapshot = (): PresenceSnapshot => {
    const { members, count, listed } = this.#room.presence;
    const old = this.#snapshot;
    if (members !== old.members || count !== old.count || listed !== old.listed)
      this.#snapshot = { members, count, listed };
    return this.#snapshot;
  };

  #watch(): () => void {
    const room = this.#room;
    const { presence } = room;
    const changed = () => this.#watched.notify();
    const stops = (["joined", "left", "updated", "count", "snapshot"] as const).map((event) =>
      presence.on(event, changed),
    );
    stops.push(room.on("joined", changed), room.on("left", changed));
    return () => {
      for (const stop of stops) stop();
    };
  }
}

const stores = new WeakMap<Attended, PresenceStore>();

/** The store of a room, always the same. */
export function presenceStore(room: Attended): PresenceStore {
  let store = stores.get(room);
  if (store === undefined) stores.set(room, (store = new PresenceStore(room)));
  return store;
}
