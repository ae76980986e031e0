import type { SendOptions } from "./send.js";

/** A key's value. Never changed: another value is another entry. */
export interface StateEntry<T = unknown> {
  /** What was sent, as the room's `parse` returned it. */
  readonly data: T;
  /** The message that brought it. */
  readonly seq: number;
  readonly version?: number;
  readonly from: string;
  /** When the server accepted it, in Unix milliseconds by the server's clock. */
  readonly sentAt: number;
  /** When it ends by itself, on the same clock. */
  readonly expiresAt?: number;
}

/** What has become of a key. */
export interface KeyChange<T = unknown> {
  key: string;
  /** `undefined`: the key has no value any more. */
  entry: StateEntry<T> | undefined;
  previous: StateEntry<T> | undefined;
  reason: "set" | "removed" | "expired";
}

export interface StateEvents<T = unknown> {
  /** The map is complete: at first, and again where it had to be read anew. */
  snapshot: ReadonlyMap<string, StateEntry<T>>;
  /** A key has another value, or none any more. Not before the first `snapshot`. */
  change: KeyChange<T>;
}

/** Options of `state.set`: those of a message that has a key. */
export type SetOptions = Omit<SendOptions, "key">;
