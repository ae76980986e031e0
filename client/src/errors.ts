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
 * - `connect_failed`: the WebSocket could not be opened (network, or the handshake was refused: browsers do not say which).
 * - `token_failed`: the token provider rejected.
 * - `protocol`: the server sent something that the library does not understand.
 * - `bad_data`: a message's data failed the room's `parse`; the message was skipped.
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

/** What a `RoomcastError` says besides its code and message: see its fields. */
export interface ErrorDetails {
  /** Default: as is usual for the code. */
  retryable?: boolean | undefined;
  roomId?: string | undefined;
  messageId?: string | undefined;
  retryAfterMs?: number | undefined;
  /** What was thrown, where the error stands for something else. */
  cause?: unknown;
}

/** The one error type of this library. */
export class RoomcastError extends Error {
  /** What went wrong, for programs. */
  readonly code: ErrorCode;
  /** Whether the same call, made again later and unchanged, can succeed. */
  readonly retryable: boolean;
  /** The room that the error is about, if it is about one. */
  readonly roomId: string | undefined;
  /** The id of the message that could not be sent: with it, sending again is safe. */
  readonly messageId: string | undefined;
  /** How long the server asks to wait before the next attempt, where it knows. The library does. */
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

/** Wraps anything thrown into a `RoomcastError`; one that already is passes unchanged. */
export function asRoomcastError(thrown: unknown, code: ErrorCode = "protocol"): RoomcastError {
  return thrown instanceof RoomcastError ? thrown : new RoomcastError(code, describe(thrown), { cause: thrown });
}

/** The same error, saying what it is about. */
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
