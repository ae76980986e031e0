// Limits of the protocol and of API Gateway, with their source.

/** Largest WebSocket frame that API Gateway accepts from a client: 32,768 bytes (32 KiB). A larger one closes the connection with 1009. */
export const MAX_CLIENT_FRAME_BYTES = 32 * 1024;

/** Largest frame that the server sends: what a @connections post or a route response may hold. */
export const MAX_POST_BYTES = 128 * 1024;

/** Largest number of rooms in one `sync` frame (protocol). */
export const MAX_SYNC_ROOMS = 50;

/** Largest page of `getHistory` (protocol). */
export const MAX_HISTORY_LIMIT = 100;

/** Longest life of a key's value (protocol). */
export const MAX_TTL_SECONDS = 31_536_000;

/** Largest data of a member, as JSON (protocol). */
export const MAX_PRESENCE_BYTES = 1024;

/** Levels of arrays and objects in data (protocol). */
export const MAX_LEVELS = 50;

/** Largest data of a message that is not logged, as JSON (protocol). */
export const MAX_EPHEMERAL_BYTES = 4 * 1024;

/** Largest page of `getMembers` (protocol). */
export const MAX_MEMBERS_LIMIT = 500;

/** Longest `id` and `key`, in characters (protocol). */
export const MAX_FIELD_LENGTH = 64;

/** Longest idle time of a connection: API Gateway closes it after ten minutes without a frame. */
export const MAX_IDLE_MS = 10 * 60_000;

/** Longest time between two beats, a minute below `MAX_IDLE_MS` (the server's SYNC_MAX_SECONDS is bounded by it too). */
export const MAX_BEAT_MS = 9 * 60_000;

/** The same in a hidden browser tab, where timers fire up to a minute late. */
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

/** Retention of a server that does not say, in seconds. */
export const RETENTION_SECONDS = 600;

/** `setTimeout` fires at once for delays beyond 32 bits. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

const ROOM_ID = /^[A-Za-z0-9_.:-]{1,100}$/;

/** Whether `roomId` is 1 to 100 characters of `A-Z a-z 0-9 _ - . :`. */
export function isRoomId(roomId: unknown): roomId is string {
  return typeof roomId === "string" && ROOM_ID.test(roomId);
}
