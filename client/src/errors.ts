/** Codes that the server sends in its `error` frames. */
export type ServerErrorCode =
  | "bad_request"
  | "unknown_action"
  | "forbidden"
  | "too_large"
  | "rate_limited"
  | "unavailable";

/**
 * Codes that the library adds:
 *
 * - `timeout`: no reply in time. A message whose `send` timed out may still appear in the room.
 * - `disconnected`: the connection was lost before the reply.
 * - `connect_failed`: the WebSocket could not be opened (network, or the handshake was refused: browsers do not say
 *   which).
 * - `token_failed`: the token provider rejected.
 * - `protocol`: the server sent a frame that makes no sense.
 * - `bad_data`: a message's data failed the room's `parse`, whose error is the `cause`; the message was skipped.
 * - `closed`: the client is closed, as it is before the first `connect()`, or was closed before the operation ended.
 * - `left`: the room was left before the operation ended.
 * - `aborted`: the call's signal was aborted, where signals have no reason of their own.
 */
export type ClientErrorCode =
  | "timeout"
  | "disconnected"
  | "connect_failed"
  | "token_failed"
  | "protocol"
  | "bad_data"
  | "closed"
  | "left"
  | "aborted";

/** Every known code; a newer server may send others, hence the open end. */
export type ErrorCode = ServerErrorCode | ClientErrorCode | (string & {});

const RETRYABLE: readonly string[] = [
  "rate_limited",
  "unavailable",
  "timeout",
  "disconnected",
  "connect_failed",
  "token_failed",
];

/** Fields of a `RoomcastError` besides its code and message. */
export interface ErrorDetails {
  /** Default: true for codes of faults that pass. */
  retryable?: boolean | undefined;
  roomId?: string | undefined;
  messageId?: string | undefined;
  retryAfterMs?: number | undefined;
  /** The value that was thrown, where the error stands for another one. */
  cause?: unknown;
}

/** The only error type of this library. */
export class RoomcastError extends Error {
  /** The kind of error, for programs. */
  readonly code: ErrorCode;
  /** True if the same call can succeed when it is made again later. */
  readonly retryable: boolean;
  /** The room, if the error is about one. */
  readonly roomId: string | undefined;
  /** The id of the message that could not be sent. It is safe to send the message again with this id. */
  readonly messageId: string | undefined;
  /** The wait that the server asks for before the next attempt, where it knows. The library observes it. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const { cause, retryable = RETRYABLE.includes(code), roomId, messageId, retryAfterMs } = details;
    super(message, cause === undefined ? {} : { cause });
    this.name = "RoomcastError";
    this.code = code;
    this.retryable = retryable;
    this.roomId = roomId;
    this.messageId = messageId;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A `RoomcastError` for anything that was thrown. One that is a `RoomcastError` already passes unchanged. */
export function asRoomcastError(thrown: unknown, code: ErrorCode = "protocol"): RoomcastError {
  return thrown instanceof RoomcastError ? thrown : new RoomcastError(code, describe(thrown), { cause: thrown });
}

/** The same error with its room, and perhaps its message. */
export function about(thrown: unknown, subject: { roomId: string; messageId?: string }): RoomcastError {
  const cause = asRoomcastError(thrown);
  return new RoomcastError(cause.code, cause.message, { ...cause, cause, ...subject });
}

/** A short text for anything that can be thrown. */
export function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Throws `bad_request` unless `value` is a whole number from `min` on, at most `max`, or absent. */
export function checkWhole(
  name: string,
  value: number | undefined,
  min: number,
  roomId: string,
  max = Number.MAX_SAFE_INTEGER,
): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= min && value <= max)) return;
  throw new RoomcastError("bad_request", `${name} must be a whole number from ${min} to ${max}`, { roomId });
}
