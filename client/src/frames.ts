import { RoomcastError } from "./errors.js";
import { MAX_CLIENT_FRAME_BYTES } from "./limits.js";

/** A message as the room's log holds it. */
export interface LoggedMessage {
  seq: number;
  id: string;
  from: string;
  sentAt: number;
  data: unknown;
  key?: string;
  version?: number;
}

/** What a client has missed of a room: the body of `joined`, and of each room in `synced`. */
export interface CatchUp {
  /** The newest message that the log has, or had before everything in it expired; 0: nothing is known of it. */
  seq: number;
  messages: LoggedMessage[];
  /** There is more than fitted: ask again from the last message on, or from the same `after` if there is none. */
  more: boolean;
  /** Some of what was asked for is gone; or, with `seq` below what was asked for, the position is of another log. */
  truncated: boolean;
}

export interface JoinedFrame extends CatchUp {
  type: "joined";
  requestId?: string;
  roomId: string;
  /** How long the log keeps a message. */
  retentionSeconds?: number;
  syncAfterMs?: number;
}

export interface LeftFrame {
  type: "left";
  requestId?: string;
  roomId: string;
}

export interface AcceptedFrame {
  type: "accepted";
  requestId?: string;
  roomId: string;
  id: string;
}

export interface SyncedFrame {
  type: "synced";
  requestId?: string;
  /** Rooms that are not here could not be served: ask for them again. */
  rooms: Record<string, CatchUp>;
  /** Rooms whose membership was lost and has been put again. */
  renewed?: string[];
  /** When to sync the rooms of this frame again. */
  syncAfterMs?: number;
}

export interface HistoryFrame {
  type: "history";
  requestId?: string;
  roomId: string;
  messages: LoggedMessage[];
  more: boolean;
}

/** A broadcast. It covers every message with `after < seq of message <= seq`; those that are absent were conflated. */
export interface MessagesFrame {
  type: "messages";
  roomId: string;
  messages: LoggedMessage[];
  after: number;
  seq: number;
}

export interface ErrorFrame {
  type: "error";
  requestId?: string;
  code: string;
  message: string;
  /** How long to wait before the next attempt, where the server knows. */
  retryAfterMs?: number;
}

export type ReplyFrame = JoinedFrame | LeftFrame | AcceptedFrame | SyncedFrame | HistoryFrame;
/** A frame from the server, checked. */
export type Inbound = ReplyFrame | MessagesFrame | ErrorFrame;
export type Reply<T extends ReplyFrame["type"]> = Extract<ReplyFrame, { type: T }>;

export type ClientFrame =
  | { action: "joinRoom"; roomId: string; after?: number }
  | { action: "leaveRoom"; roomId: string }
  | { action: "sendMessage"; roomId: string; data: unknown; id: string; key?: string; version?: number }
  | { action: "sync"; rooms: Record<string, number> }
  | { action: "getHistory"; roomId: string; before?: number; limit?: number };

/** A frame ready to be sent. */
export interface EncodedFrame {
  text: string;
  /** Its length in UTF-8, which is what API Gateway counts. */
  bytes: number;
}

/** Bytes of `text` in UTF-8. Counted by hand: not every React Native has a `TextEncoder`. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    // The halves of a surrogate pair take two bytes each; anything else beyond U+07FF takes three.
    const paired = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00;
    bytes += unit < 0x800 ? 1 : 2;
    if (paired) at++;
  }
  return bytes;
}

/** Encodes a frame, or throws `bad_request` (not JSON) or `too_large` (more than API Gateway lets in). */
export function encodeFrame(frame: ClientFrame, requestId: string): EncodedFrame {
  let text: string;
  try {
    text = JSON.stringify({ ...frame, requestId });
  } catch (cause) {
    throw new RoomcastError("bad_request", "data is not JSON", { cause });
  }
  const bytes = byteLength(text);
  if (bytes > MAX_CLIENT_FRAME_BYTES) {
    throw new RoomcastError("too_large", `the frame has ${bytes} bytes; API Gateway accepts ${MAX_CLIENT_FRAME_BYTES}`);
  }
  return { text, bytes };
}

/** What came in: a frame, nothing that this version knows, or garbage. */
export type Decoded = { frame: Inbound } | { ignored: true } | { malformed: string };

/**
 * Decodes and checks a frame of the server; nobody checks its fields again.
 *
 * API Gateway itself answers `{message, connectionId, requestId}` when it throttles or when an integration fails. That
 * `requestId` is its own, not ours, and is dropped so that it is never taken for an echo.
 */
export function decodeFrame(text: unknown): Decoded {
  if (typeof text !== "string") return { malformed: "a frame that is not text" };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { malformed: "a frame that is not JSON" };
  }
  if (!isRecord(value)) return { malformed: "a frame that is not an object" };
  const type = value["type"];
  if (type === undefined && typeof value["message"] === "string") {
    return { frame: { type: "error", code: gatewayCode(value["message"]), message: value["message"] } };
  }
  const shape = typeof type === "string" && Object.hasOwn(shapes, type) ? shapes[type as Inbound["type"]] : undefined;
  if (shape === undefined) return { ignored: true };
  if (!has(value, shape) || (type === "messages" && !isBounded(value))) return { malformed: `a bad ${String(type)} frame` };
  return { frame: value as unknown as Inbound };
}

function gatewayCode(message: string): string {
  if (/too many requests|limit exceeded|throttl/i.test(message)) return "rate_limited";
  if (/forbidden/i.test(message)) return "forbidden";
  return "unavailable";
}

type Fields = Record<string, unknown>;

type Check = (value: unknown) => boolean;

const catchUp = { seq: isSeq, messages: isMessages, more: isFlag, truncated: isFlag };

/** What the fields of each frame must be. */
const shapes: Record<Inbound["type"], Record<string, Check>> = {
  joined: { roomId: isText, ...catchUp, retentionSeconds: isTime, syncAfterMs: isTime },
  left: { roomId: isText },
  accepted: { roomId: isText, id: isText },
  synced: { rooms: isRooms, syncAfterMs: isTime },
  history: { roomId: isText, messages: isMessages, more: isFlag },
  messages: { roomId: isText, messages: isMessages },
  error: { code: isText, message: isText, retryAfterMs: isTime },
};

function has(fields: Fields, shape: Record<string, Check>): boolean {
  return Object.entries(shape).every(([name, check]) => check(fields[name]));
}

function isRooms(value: unknown): boolean {
  return isRecord(value) && Object.values(value).every((page) => isRecord(page) && has(page, catchUp));
}

function isFlag(value: unknown): boolean {
  return typeof value === "boolean";
}

/** Checks the bounds of a broadcast; those that it only implies are written into it. */
function isBounded(f: Fields): boolean {
  const messages = f["messages"] as LoggedMessage[];
  f["after"] ??= (messages[0]?.seq ?? Number.NaN) - 1;
  f["seq"] ??= messages.at(-1)?.seq;
  const { after, seq } = f;
  if (!isSeq(after) || !isSeq(seq) || after >= seq) return false;
  return messages.every((message) => after < message.seq && message.seq <= seq);
}

function isMessages(value: unknown): value is LoggedMessage[] {
  if (!Array.isArray(value)) return false;
  let previous = 0;
  return value.every((message: unknown) => {
    if (!isRecord(message) || !isSeq(message["seq"]) || message["seq"] <= previous) return false;
    previous = message["seq"];
    return isText(message["id"]) && isText(message["from"]) && typeof message["sentAt"] === "number";
  });
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A length of time, or nothing. */
function isTime(value: unknown): boolean {
  return value === undefined || (typeof value === "number" && value >= 0 && Number.isFinite(value));
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
