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
  /** A removal: the key has no value from here on, and `data` is `null`. */
  remove?: boolean;
  /** Life of the message as its key's value, in seconds from `sentAt` on. */
  ttlSeconds?: number;
}

/** Place of a message among those of its key: see `supersedes`. */
export interface Rank {
  seq: number;
  version?: number | undefined;
}

/** A key's value in a page of a room's state. */
export interface KeyedValue extends Rank {
  key: string;
  from: string;
  sentAt: number;
  ttlSeconds?: number;
  data: unknown;
}

/** A key without a value. It had one, which an older message must not bring back. */
export interface RemovedKey extends Rank {
  key: string;
}

/** A page of a room's state. Pages go through the keys in their order. */
export interface StatePage {
  /** The number of the newest message that the page knows of. */
  seq: number;
  entries: KeyedValue[];
  removed?: RemovedKey[];
  /** The last key that the page has looked at, if there are more; `""` if it has looked at none. */
  next?: string | undefined;
}

/** A subject with a connection in a room, and the data that it gives of itself. */
export interface Member<P = unknown> {
  readonly id: string;
  readonly data?: P;
}

/** Number and length of the list of members that a room has published. */
export interface PresenceRev {
  rev: number;
  count: number;
}

export interface MembersPage extends PresenceRev {
  /** Members in the order of their ids. Absent if the room is too large for a list. */
  members?: Member[];
  /** The last member of the page, if there are more. */
  next?: string;
}

/** Messages that a client has missed of a room: the body of `joined`, and of each room in `synced`. */
export interface CatchUp {
  /**
   * The number of the newest message that the log has, or had before all of it expired; 0 if nothing is known of the
   * log.
   */
  seq: number;
  messages: LoggedMessage[];
  /** True if more messages follow: ask again from the last message on, or from the same `after` if there is none. */
  more: boolean;
  /**
   * True if messages that were asked for are gone; or, with `seq` below the position that was asked from, if that
   * position is of another log.
   */
  truncated: boolean;
}

export interface JoinedFrame extends CatchUp {
  type: "joined";
  requestId?: string;
  roomId: string;
  /** Life of a message in the log. */
  retentionSeconds?: number;
  syncAfterMs?: number;
  /** Longest time between two syncs, also while broadcasts come: after a longer silence the member counts as gone. */
  syncWithinMs?: number;
  /** Time until the connection's token expires; 0 if it has. */
  expiresInMs?: number;
  /** The server's clock, in Unix milliseconds. */
  now?: number;
  /** The first page of the room's state, together with `stateRemoved` and `stateNext`. */
  state?: KeyedValue[];
  stateRemoved?: RemovedKey[];
  stateNext?: string;
  /** The first page of the room's members, and the client's own `id` among them. */
  presence?: MembersPage & { id: string };
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
  /** Rooms that could be served. Ask for the others again. */
  rooms: Record<string, CatchUp>;
  /**
   * Rooms whose membership had been lost, or was about to end, and is renewed; and rooms of `presence` where that was so
   * at an earlier sync and that were not joined since.
   */
  renewed?: string[];
  /** Rooms that the connection may not be in. */
  forbidden?: string[];
  /** Wait until the next sync of these rooms. */
  syncAfterMs?: number;
  /** The newest list of members of each room whose list the `sync` named. */
  presence?: Record<string, PresenceRev>;
  /** The server's clock, in Unix milliseconds. */
  now?: number;
}

export interface StateFrame extends StatePage {
  type: "state";
  requestId?: string;
  roomId: string;
}

export interface MembersFrame extends MembersPage {
  type: "members";
  requestId?: string;
  roomId: string;
  /**
   * True if the page is one of the list. Otherwise the room is too large for a list, and the page is a look at its
   * connections.
   */
  listed: boolean;
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

/** A change of a room's list of members. With nothing but `rev` and `count` the room has no list. */
export interface PresenceFrame extends PresenceRev {
  type: "presence";
  roomId: string;
  /** The number of the list that is changed. */
  after?: number;
  joined?: Member[];
  left?: string[];
  /** True if the change is too large for a frame, and the list has to be read. */
  reload?: boolean;
}

/** A message for those who are in the room now. */
export interface EphemeralMessage {
  from: string;
  sentAt: number;
  key?: string;
  data: unknown;
}

export interface EphemeralFrame {
  type: "ephemeral";
  roomId: string;
  ephemeral: EphemeralMessage[];
}

export interface ErrorFrame {
  type: "error";
  requestId?: string | undefined;
  code: string;
  message: string;
  /** Wait before the next attempt, where the server knows. */
  retryAfterMs?: number;
  /** `token_expired`: the connection's token has expired, and the server closes the connection. */
  reason?: string;
}

export type ReplyFrame =
  | JoinedFrame
  | LeftFrame
  | AcceptedFrame
  | SyncedFrame
  | HistoryFrame
  | StateFrame
  | MembersFrame;
/** A frame to everybody in a room. */
export type BroadcastFrame = MessagesFrame | PresenceFrame | EphemeralFrame;
/** A frame from the server, checked. */
export type Inbound = ReplyFrame | BroadcastFrame | ErrorFrame;
export type Reply<T extends ReplyFrame["type"]> = Extract<ReplyFrame, { type: T }>;

/** Parts of a room that a `joinRoom` asks for besides messages. */
export interface JoinExtras {
  state?: true;
  presence?: true;
  presenceData?: unknown;
}

export interface SendFrame {
  action: "sendMessage";
  roomId: string;
  data: unknown;
  id: string;
  key?: string | undefined;
  version?: number | undefined;
  ttlSeconds?: number | undefined;
  remove?: true | undefined;
}

export type ClientFrame =
  | ({ action: "joinRoom"; roomId: string; after: number | undefined } & JoinExtras)
  | { action: "leaveRoom"; roomId: string }
  | SendFrame
  | { action: "sendMessage"; roomId: string; ephemeral: true; key?: string | undefined; data: unknown }
  | { action: "sync"; rooms: Record<string, number>; presence?: Record<string, number> }
  | { action: "getHistory"; roomId: string; before: number | undefined; limit: number | undefined }
  | { action: "getState"; roomId: string; after: string | undefined; seq: number }
  | {
      action: "getMembers";
      roomId: string;
      after: string | undefined;
      rev?: number | undefined;
      limit?: number | undefined;
    };

/** True if an answer of the log brings a page of the room's state, which only a `joined` does. */
export function bringsState(page: CatchUp & Pick<Partial<JoinedFrame>, "state" | "stateNext">): boolean {
  return page.state !== undefined || page.stateNext !== undefined;
}

/** A frame ready to be sent. */
export interface EncodedFrame {
  text: string;
  /** Its length in UTF-8, which is what API Gateway counts. */
  bytes: number;
}

/** Bytes of `text` in UTF-8. Counted by hand: not every React Native has a `TextEncoder`. */
export function byteLength(text: string): number {
  // The loop takes whole characters: a surrogate pair, of length 2, has four bytes.
  let bytes = 0;
  for (const character of text) bytes += character < "\x80" ? 1 : character < "\u0800" ? 2 : character.length + 2;
  return bytes;
}

/** The JSON of `value`, or throws `bad_request` if it has none. */
export function toJson(value: unknown): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (thrown) {
    cause = thrown;
  }
  if (text === undefined) throw new RoomcastError("bad_request", "data is not JSON", { cause });
  return text;
}

/** Encodes a frame, or throws `bad_request` (not JSON) or `too_large` (more than API Gateway lets in). */
export function encodeFrame(frame: ClientFrame, requestId: string): EncodedFrame {
  const text = toJson({ ...frame, requestId });
  const bytes = byteLength(text);
  if (bytes > MAX_CLIENT_FRAME_BYTES) {
    throw new RoomcastError("too_large", `the frame has ${bytes} bytes`);
  }
  return { text, bytes };
}
