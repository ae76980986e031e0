import type { CallOptions } from "./abort.js";
import type { Ephemeral } from "./ephemeral.js";
import type { RoomcastError } from "./errors.js";
import type { Gap, Recovery, Truncation } from "./loss.js";
import type { Message } from "./message.js";

/**
 * - `left`: not joined.
 * - `joining`: `join()` was called, and the server has not confirmed it.
 * - `joined`: every message of the log reaches the application.
 * - `recovering`: the connection was lost, or messages are missing. They will follow in their order.
 */
export type RoomStatus = "left" | "joining" | "joined" | "recovering";

export interface RoomEvents<T = unknown> {
  /** The next message of the log. */
  message: Message<T>;
  /**
   * A message for those who are in the room now: see `sendEphemeral`. It is newer than the sender's last one with its
   * key.
   */
  ephemeral: Ephemeral;
  /** The server has confirmed the join; `rejoined` after a lost connection. `seq` is the head of the log. */
  joined: { seq: number; rejoined: boolean };
  /** The room was left, by `leave()`, by `close()`, or because of `error`. */
  left: { error?: RoomcastError | undefined };
  /**
   * Messages, or perhaps messages, cannot be had: retention has dropped them, or the token does not allow to read the
   * log.
   */
  truncated: Truncation;
  /** Messages are missing and are being read from the log. */
  gap: Gap;
  /** The missing messages have been delivered. */
  recovered: Recovery;
  /**
   * Delivery has stopped for everybody, because `bufferSize` messages wait to be read, until half of them are; or it
   * goes on (`false`). Somebody does not read: often a forgotten iterator.
   */
  stalled: { stalled: boolean; waiting: number };
  /**
   * An error of the room. The server refuses it, and it is left; or a message's data failed `parse` (`bad_data`), and
   * the message was skipped; or the room's state, or its list of members, cannot be had; or the server refuses presence
   * data for which no `update` waits.
   */
  error: RoomcastError;
  status: { status: RoomStatus; previous: RoomStatus };
}

export interface RoomOptions<T> {
  /**
   * Checks the data of a message that comes in, from the room or its history, and returns it with its type. The message
   * is skipped, and reported as `error` with the code `bad_data`, if it throws.
   */
  parse?: (data: unknown) => T;
}

export interface JoinOptions extends CallOptions {
  /**
   * The last `seq` that the application has: everything after it is delivered. 0 means everything that the log retains.
   * Default: only messages from now on.
   *
   * A position needs the right `history`: the join is refused as `forbidden` without. A join without `after` succeeds
   * then, and `truncated` tells of messages that were missed while the connection was lost.
   */
  after?: number;
  /**
   * Keeps `room.state`. Messages do not wait for a reader then, so listeners come before the join. After a lost
   * connection only the values are fetched, and not every missed message, if nobody reads and there are many.
   */
  state?: boolean;
  /**
   * Keeps `room.presence`, and makes the client one of the members: with this data, up to 1 KiB of JSON, or without
   * data if it is `true`.
   */
  presence?: unknown;
}

export interface HistoryOptions extends CallOptions {
  /** Only messages with a smaller `seq`. Default: the newest. */
  before?: number;
  /** Largest number of messages, up to 100. Default 50. Fewer may come, because a page has about 32 KiB: see `more`. */
  limit?: number;
}

export interface HistoryPage<T = unknown> {
  /** Messages in the order of the log. */
  messages: Message<T>[];
  /** True if there are older messages: ask with the `before` of this page. */
  more: boolean;
  /**
   * The first `seq` that was read, even if its message failed `parse` and is not here; `undefined` if nothing was read.
   */
  before: number | undefined;
}
