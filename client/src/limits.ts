// Limits of the protocol and of API Gateway, with their source. A limit of the protocol has its name in
// shared/src/limits.rs.

/**
 * Bytes of the largest WebSocket frame that API Gateway accepts from a client. A larger one closes the connection with
 * 1009.
 */
export const MAX_CLIENT_FRAME_BYTES = 32 * 1024;

/** Rooms in one `sync` frame (protocol). */
export const SYNC_ROOMS = 50;

/** Messages in one page of `getHistory` (protocol). */
export const HISTORY_MESSAGES = 100;

/** Longest `ttlSeconds` of a key's value: a year (protocol). */
export const TTL_SECONDS = 31_536_000;

/** Bytes of a member's data, as JSON (protocol). */
export const PRESENCE_DATA_BYTES = 1024;

/** Levels of arrays and objects in data (protocol). */
export const DATA_LEVELS = 50;

/** Bytes of an ephemeral message's data, as JSON (protocol). */
export const EPHEMERAL_DATA_BYTES = 4 * 1024;

/** Members in one page of `getMembers` (protocol). */
export const MEMBERS = 500;

/** Longest `id` and `key`, in characters (protocol). */
export const NAME_CHARS = 64;

/** Longest idle time of a connection: API Gateway closes it after ten minutes without a frame. */
export const MAX_IDLE_MS = 10 * 60_000;

/**
 * Longest time between two beats, a minute below `MAX_IDLE_MS` (the server's SYNC_MAX_SECONDS is bounded by it too).
 */
export const MAX_BEAT_MS = 9 * 60_000;

/** Longest time between two beats in a hidden browser tab, where timers fire up to a minute late. */
export const MAX_HIDDEN_BEAT_MS = 8.5 * 60_000;

/** Longest time in which API Gateway answers a frame: its integration timeout is 29 s. */
export const MAX_REPLY_MS = 30_000;

/** Longest life of a connection: API Gateway closes it after two hours, whatever it does. */
export const MAX_CONNECTION_MS = 2 * 60 * 60_000;

/**
 * SQS FIFO forgets a deduplication id after five minutes, so a retry of a message is only known to be idempotent within
 * that time. A minute is left for the last attempt to get through.
 */
export const MAX_SEND_TIMEOUT_MS = 4 * 60_000;

/** Retention of a server that does not name its own, in seconds. */
export const RETENTION_SECONDS = 600;

/** Longest delay of `setTimeout`, which fires at once for delays beyond 32 bits. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** `ROOM_ID_CHARS` of the protocol at most. */
const ROOM_ID = /^[A-Za-z0-9_.:-]{1,100}$/;

/** Whether `roomId` is 1 to 100 characters of `A-Z a-z 0-9 _ - . :`. */
export function isRoomId(roomId: unknown): roomId is string {
  return typeof roomId === "string" && ROOM_ID.test(roomId);
}
