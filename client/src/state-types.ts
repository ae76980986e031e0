import type { SendOptions } from "./send.js";

/** A key's value. An entry never changes: another value is another entry. */
export interface StateEntry<T = unknown> {
  /** The data, as the room's `parse` returned it. */
  readonly data: T;
  /** The number of the message that brought the value. */
  readonly seq: number;
  readonly version?: number;
  readonly from: string;
  /** The time at which the server accepted it, in Unix milliseconds by the server's clock. */
  readonly sentAt: number;
  /** The time at which the value ends by itself, on the same clock. */
  readonly expiresAt?: number;
}

/** A change of a key. */
export interface KeyChange<T = unknown> {
  key: string;
  /** `undefined`: the key has no value any more. */
  entry: StateEntry<T> | undefined;
  previous: StateEntry<T> | undefined;
  reason: "set" | "removed" | "expired";
}

export interface StateEvents<T = unknown> {
  /** The complete map: the first one, and each that had to be read anew. */
  snapshot: ReadonlyMap<string, StateEntry<T>>;
  /** A key that has another value, or none any more. The first comes after the first `snapshot`. */
  change: KeyChange<T>;
}

/** Options of `state.set`: those of a message with a key. */
export type SetOptions = Omit<SendOptions, "key">;

/** The type of a map's iterators, which depends on the compiler's version. */
export type Iterated<T, K extends "keys" | "values" | "entries"> = ReturnType<ReadonlyMap<string, StateEntry<T>>[K]>;
