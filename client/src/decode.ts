import type { Inbound, LoggedMessage } from "./frames.js";
import { MAX_BEAT_MS, MAX_CONNECTION_MS } from "./limits.js";

/**
 * Decodes and checks a frame of the server: nobody checks its fields again. A frame of a type that this version does
 * not know is `undefined`. A frame that makes no sense is an error with the code `protocol`, in place of the reply that
 * it may have been.
 *
 * API Gateway itself answers `{message, connectionId, requestId}` when it throttles or when an integration fails. That
 * `requestId` is its own, not ours, and is dropped so that it is never taken for an echo.
 */
export function decodeFrame(text: unknown): Inbound | undefined {
  const frame = parse(text);
  let requestId: unknown;
  if (isRecord(frame)) {
    const { type, message } = frame;
    for (const [hint, most] of Object.entries(HINTS)) {
      const value = frame[hint];
      frame[hint] = isNumber(value) && value >= 0 ? Math.min(value, most) : undefined;
    }
    if (type === undefined && isText(message)) return { type: "error", code: gatewayCode(message), message };
    const shape = shapes.get(type);
    if (!shape) return undefined;
    if (fits(frame, shape) && (type !== "messages" || isBounded(frame))) return frame as unknown as Inbound;
    requestId = frame.requestId;
  }
  return {
    type: "error",
    code: "protocol",
    message: "the server sent a bad frame",
    requestId: requestId as string | undefined,
  };
}

function parse(text: unknown): unknown {
  try {
    return isText(text) && JSON.parse(text);
  } catch {
    return undefined;
  }
}

function gatewayCode(message: string): string {
  if (/too many requests|limit exceeded|throttl/i.test(message)) return "rate_limited";
  return /forbidden/i.test(message) ? "forbidden" : "unavailable";
}

type Fields = { [name: string]: unknown; type?: unknown; message?: unknown; requestId?: unknown };

type Check = (value: unknown) => boolean;

const logged = { seq: isSeq, id: isText, from: isText, sentAt: isNumber, ttlSeconds: optional(isNumber) };

const rank = { key: isText, seq: isSeq, version: optional(isSeq) };

const value = { ...rank, from: isText, sentAt: isNumber, ttlSeconds: optional(isNumber) };

const published = { rev: isSeq, count: isSeq };

const memberList = optional(listOf({ id: isText }));

const members = { ...published, members: memberList, next: optional(isText) };

const catchUp = { seq: isSeq, messages: isMessages, more: isFlag, truncated: isFlag };

/** Checks of the fields of each frame. */
const shapes = new Map<unknown, Record<string, Check>>(
  Object.entries({
    joined: {
      roomId: isText,
      ...catchUp,
      state: optional(listOf(value)),
      stateRemoved: optional(listOf(rank)),
      stateNext: optional(isText),
      presence: optional((page) => fits(page, { ...members, id: isText })),
    },
    left: { roomId: isText },
    accepted: { roomId: isText, id: isText },
    synced: { rooms: recordOf(catchUp), presence: optional(recordOf(published)) },
    history: { roomId: isText, messages: isMessages, more: isFlag },
    state: {
      roomId: isText,
      seq: isSeq,
      entries: listOf(value),
      removed: optional(listOf(rank)),
      next: optional(isText),
    },
    members: { roomId: isText, listed: isFlag, ...members },
    messages: { roomId: isText, messages: isMessages },
    presence: { roomId: isText, ...published, after: optional(isSeq), joined: memberList, left: optional(isTexts) },
    ephemeral: { roomId: isText, ephemeral: listOf({ from: isText, sentAt: isNumber, key: optional(isText) }) },
    error: { code: isText, message: isText },
  } satisfies Record<Inbound["type"], Record<string, Check>>),
);

/**
 * Optional times of a frame, with their bounds: a greater value counts as the bound, and one that is no time is
 * dropped. No wait is longer than `MAX_BEAT_MS`, so that no server can silence a client. Nothing waits for the end of a
 * retention, which may be years, nor for the server's clock.
 */
const HINTS = {
  retentionSeconds: Number.MAX_SAFE_INTEGER,
  syncAfterMs: MAX_BEAT_MS,
  syncWithinMs: MAX_BEAT_MS,
  retryAfterMs: MAX_BEAT_MS,
  expiresInMs: MAX_CONNECTION_MS,
  now: Number.MAX_SAFE_INTEGER,
};

function fits(value: unknown, shape: Record<string, Check>): boolean {
  return isRecord(value) && Object.entries(shape).every(([name, check]) => check(value[name]));
}

function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function listOf(shape: Record<string, Check>): Check {
  return (value) => Array.isArray(value) && value.every((item) => fits(item, shape));
}

function recordOf(shape: Record<string, Check>): Check {
  return (value) => isRecord(value) && Object.values(value).every((item) => fits(item, shape));
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText);
}

function isFlag(value: unknown): boolean {
  return typeof value === "boolean";
}

/** Checks the bounds of a broadcast, after filling in those that it only implies. */
function isBounded(f: Fields): boolean {
  const messages = f["messages"] as LoggedMessage[];
  const after = (f["after"] ??= (messages[0]?.seq ?? 0) - 1);
  const seq = (f["seq"] ??= messages.at(-1)?.seq);
  return (
    isSeq(after) && isSeq(seq) && after < seq && messages.every((message) => after < message.seq && message.seq <= seq)
  );
}

function isMessages(value: unknown): boolean {
  const follows = (message: LoggedMessage, at: number, all: LoggedMessage[]) =>
    fits(message, logged) && message.seq > (all[at - 1]?.seq ?? 0);
  return Array.isArray(value) && value.every(follows);
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** True for the numbers that JSON can have. */
function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRecord(value: unknown): value is Fields {
  return value instanceof Object && !Array.isArray(value);
}
