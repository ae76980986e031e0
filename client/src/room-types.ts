import type { CallOptions } from "./abort.js";
import type { Ephemeral } from "./ephemeral.js";
import type { RoomcastError } from "./errors.js";
import type { Gap, Recovery, Truncation } from "./loss.js";
import type { Message } from "./message.js";

/**
 * - `left`: not joined.
 * - `joining`: `join()` was called, the server has not confirmed it.
 * - `joined`: every message of the log reaches the application.
 * - `recovering`: the connection was lost or messages are missing; they will follow, in their order.
 */
export type RoomStatus = "left" | "joining" | "joined" | "recovering";

export interface RoomEvents<T = unknown> {
  /** The next message of the log. */
  message: Message<T>;
  /** A message for those who are there: see `sendEphemeral`. Newer than what its sender has said with its key. */
  ephemeral: Ephemeral;
  /** The server has the room joined; `rejoined` after a lost connection. `seq` is the head of the log. */
  joined: { seq: number; rejoined: boolean };
  /** The room was left, by `leave()`, by `close()`, or because of `error`. */
  left: { error?: RoomcastError | undefined };
  /** Messages cannot be had, or perhaps: retention has dropped them, or the token does not allow to read them from the log. */
  truncated: Truncation;
  /** Messages are missing and are being read from the log. */
  gap: Gap;
  /** What was missing has been delivered. */
  recovered: Recovery;
  /**
   * `bufferSize` messages wait to be read, so nothing more is delivered, to nobody, until half of them are; or (`false`) that has
   * passed. Somebody does not read: often a forgotten iterator.
   */
  stalled: { stalled: boolean; waiting: number };
  /**
   * The server refuses the room, and it is left; or a message's data failed `parse` (`bad_data`), and it was skipped; or the room's state, or
   * its list of members, cannot be had.
   */
  error: RoomcastError;
  status: { status: RoomStatus; previous: RoomStatus };
}

export interface RoomOptions<T> {
  /**
   * Checks the data of a message that comes in, from the room or its history, and returns it with its type. If it throws, the
   * message is skipped and reported as `error` with the code `bad_data`.
   */
  parse?: (data: unknown) => T;
}

export interface JoinOptions extends CallOptions {
  /**
   * The last `seq` that the application has: everything after it is delivered. 0: everything that the log retains.
   * Default: only what is sent from now on.
   *
   * It needs the right `history`: without it the join is refused as `forbidden`, since what was asked for cannot be had. A join without
   * it then succeeds; what is missed while the connection is lost is told by `truncated`.
   */
  after?: number;
  /**
   * Keeps `room.state`. Messages do not wait for a reader then: who wants them listens before. Of what was missed while the connection was lost
   * only the values are fetched if nobody reads and there is much of it.
   */
  state?: boolean;
  /**
   * Keeps `room.presence`, and makes the client one of the members: with this data, up to 1 KiB of JSON, or with `true` without any.
   */
  presence?: unknown;
}

export interface HistoryOptions extends CallOptions {
  /** Only messages with a smaller `seq`. Default: the newest. */
  before?: number;
  /** At most so many, up to 100. Default 50. Fewer may come, because a page has about 32 KiB: `more` tells whether there are older ones. */
  limit?: number;
}

export interface HistoryPage<T = unknown> {
  /** In the order of the log. */
  messages: Message<T>[];
  /** There are older ones: ask with the `before` of this page. */
  more: boolean;
  /** The first `seq` that was read, also if the message failed `parse` and is not here; `undefined` if nothing was. */
  before: number | undefined;
}
