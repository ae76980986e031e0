import { RoomcastError } from "./errors.js";
import { MAX_FRAME_BYTES } from "./limits.js";

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

/** What the log holds after some `seq`: the body of `joined`, and of each room in `synced`. */
export interface LogPage {
  /** Head of the log; 0 when the log is empty. */
  seq: number;
  messages: LoggedMessage[];
  /** The reply was full: ask again from the last message on. */
  more: boolean;
  /** Retention dropped messages between what was asked for and the first of `messages`. */
  truncated: boolean;
}

export interface JoinedFrame extends LogPage {
  type: "joined";
  requestId?: string;
  roomId: string;
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
  rooms: Record<string, LogPage>;
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
}

export type ReplyFrame = JoinedFrame | LeftFrame | AcceptedFrame | SyncedFrame | HistoryFrame;
export type ServerFrame = ReplyFrame | MessagesFrame | ErrorFrame;
export type Reply<T extends ReplyFrame["type"]> = Extract<ReplyFrame, { type: T }>;

export type ClientFrame =
  | { action: "joinRoom"; roomId: string; after?: number }
  | { action: "leaveRoom"; roomId: string }
  | { action: "sendMessage"; roomId: string; data: unknown; id: string; key?: string; version?: number }
  | { action: "sync"; rooms: Record<string, number> }
  | { action: "getHistory"; roomId: string; before?: number; limit?: number };

const utf8 = new TextEncoder();

/** Bytes of `text` in UTF-8, which is what API Gateway counts. */
export function byteLength(text: string): number {
  return utf8.encode(text).length;
}

/** Encodes a frame, or throws `bad_request` (not JSON) or `too_large` (more than API Gateway lets in). */
export function encodeFrame(frame: ClientFrame, requestId: string): string {
  let text: string;
  try {
    text = JSON.stringify({ ...frame, requestId });
  } catch (cause) {
    throw new RoomcastError("bad_request", "data is not JSON", { cause });
  }
  const bytes = byteLength(text);
  if (bytes > MAX_FRAME_BYTES) {
    throw new RoomcastError("too_large", `the frame has ${bytes} bytes; API Gateway accepts ${MAX_FRAME_BYTES}`);
  }
  return text;
}

/** What came in: a frame, nothing that this version knows, or garbage. */
export type Decoded = { frame: ServerFrame } | { ignored: true } | { malformed: string };

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
  const check = typeof type === "string" && Object.hasOwn(checks, type) ? checks[type as ServerFrame["type"]] : undefined;
  if (check === undefined) return { ignored: true };
  return check(value) ? { frame: value as unknown as ServerFrame } : { malformed: `a bad ${String(type)} frame` };
}

function gatewayCode(message: string): string {
  if (/too many requests|limit exceeded|throttl/i.test(message)) return "rate_limited";
  if (/forbidden/i.test(message)) return "forbidden";
  return "unavailable";
}

type Fields = Record<string, unknown>;

const checks: Record<ServerFrame["type"], (f: Fields) => boolean> = {
  joined: (f) => isText(f["roomId"]) && isLogPage(f),
  left: (f) => isText(f["roomId"]),
  accepted: (f) => isText(f["roomId"]) && isText(f["id"]),
  synced: (f) => isRecord(f["rooms"]) && Object.values(f["rooms"]).every((page) => isRecord(page) && isLogPage(page)),
  history: (f) => isText(f["roomId"]) && isMessages(f["messages"]) && typeof f["more"] === "boolean",
  messages: isBroadcast,
  error: (f) => isText(f["code"]) && isText(f["message"]),
};

function isLogPage(f: Fields): boolean {
  return isSeq(f["seq"]) && isMessages(f["messages"]) && typeof f["more"] === "boolean" && typeof f["truncated"] === "boolean";
}

/** Checks a broadcast and writes the bounds that it only implies into it. */
function isBroadcast(f: Fields): boolean {
  const messages = f["messages"];
  if (!isText(f["roomId"]) || !isMessages(messages)) return false;
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

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
