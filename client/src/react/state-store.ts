import type { Room, StateEntry } from "../index.js";
import { Watched } from "./shared.js";

/** The entries of a room's keys at one moment. A snapshot never changes: another value makes a new one. */
export interface StateSnapshot<T> {
  entries: ReadonlyMap<string, StateEntry<T>>;
  /** True if these are all entries. */
  ready: boolean;
}

/** Time between two updates: a room may get hundreds of values a second, and a screen shows sixty. */
const UPDATE_MS = 16;

/** The snapshot before a room is joined, and on a server. */
export const NO_STATE: StateSnapshot<never> = Object.freeze({ entries: new Map<string, never>(), ready: false });

/** A room's state, as React reads it: as a whole or key by key. */
class StateStore<T> {
  readonly #room: Room<T>;
  readonly #whole: Watched;
  /** Readers of one key. */
  readonly #keys = new Map<string, Watched>();
  readonly #changed = new Set<string>();
  #watchers = 0;
  #unwatch: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #snapshot: StateSnapshot<T> = NO_STATE;
  /** True if `#snapshot` shows the last update. */
  #isFresh = false;

  constructor(room: Room<T>) {
    this.#room = room;
    this.#whole = new Watched(() => this.#watch());
    this.subscribe = this.#whole.subscribe;
  }

  readonly subscribe: Watched["subscribe"];

  readonly snapshot = (): StateSnapshot<T> => {
    const { state } = this.#room;
    // Nobody tells of changes while nobody watches.
    if (this.#isFresh && this.#watchers > 0) return this.#snapshot;
    this.#isFresh = true;
    const { entries, ready } = this.#snapshot;
    const isSame =
      ready === state.isReady &&
      entries.size === state.size &&
      [...state].every(([key, entry]) => entries.get(key) === entry);
    if (!isSame) this.#snapshot = { entries: new Map(state), ready: state.isReady };
    return this.#snapshot;
  };

  subscribeTo(key: string): Watched["subscribe"] {
    return (listener) => {
      let watched = this.#keys.get(key);
      if (watched === undefined) {
        const made: Watched = new Watched(() => {
          const unwatch = this.#watch();
          return () => {
            unwatch();
            if (this.#keys.get(key) === made) this.#keys.delete(key);
          };
        });
        this.#keys.set(key, (watched = made));
      }
      return watched.subscribe(listener);
    };
  }

  #watch(): () => void {
    this.#watchers++;
    this.#unwatch ??= this.#listen();
    return () => {
      if (--this.#watchers > 0) return;
      this.#unwatch?.();
      this.#unwatch = undefined;
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#isFresh = false;
    };
  }

  #listen(): () => void {
    const room = this.#room;
    const all = () => this.#update([...this.#keys.keys()]);
    this.#isFresh = false;
    const stops = [
      room.state.on("snapshot", all),
      room.state.on("change", ({ key }) => this.#update([key])),
      room.on("left", all),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  #update(keys: readonly string[]): void {
    for (const key of keys) this.#changed.add(key);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#isFresh = false;
      const changed = [...this.#changed];
      this.#changed.clear();
      this.#whole.notify();
      for (const key of changed) this.#keys.get(key)?.notify();
    }, UPDATE_MS);
  }
}

const stores = new WeakMap<Room<never>, StateStore<never>>();

/** The store of a room, always the same. */
export function stateStore<T>(room: Room<T>): StateStore<T> {
  const key = room as unknown as Room<never>;
  let store = stores.get(key) as StateStore<T> | undefined;
  if (store === undefined) stores.set(key, (store = new StateStore<T>(room)) as unknown as StateStore<never>);
  return store;
}
