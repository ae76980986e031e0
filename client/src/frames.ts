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
  /** It takes its key's value away; its data is `null`. */
  remove?: boolean;
  /** For how long its key has it as its value, from `sentAt` on. */
  ttlSeconds?: number;
}

/** Where a message stands among those of its key: see `supersedes`. */
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

/** A key that has no value, but had one that an older message must not bring back. */
export interface RemovedKey extends Rank {
  key: string;
}

/** Keys in their order, and what a page of a room's state has of them. */
export interface StatePage {
  /** The newest message that the page knows of. */
  seq: number;
  entries: KeyedValue[];
  removed?: RemovedKey[];
  /** The last key that the page has looked at: there are more. `""`: it has looked at none. */
  next?: string;
}

/** A subject with a connection in a room, and what it says of itself. */
export interface Member<P = unknown> {
  readonly id: string;
  readonly data?: P;
}

/** Which list of members a room has published, and how long it is. */
export interface PresenceRev {
  rev: number;
  count: number;
}

export interface MembersPage extends PresenceRev {
  /** In the order of their ids. Without, the room is too large for a list. */
  members?: Member[];
  /** The last member of the page: there are more. */
  next?: string;
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
  /** How long after a sync to sync again at the latest, also while broadcasts come: else one is taken for gone. */
  syncWithinMs?: number;
  /** How long the connection's token is good for; 0 if it has expired. */
  expiresInMs?: number;
  /** The server's clock, in Unix milliseconds. */
  now?: number;
  /** With `stateRemoved` and `stateNext` the first page of the room's state. */
  state?: KeyedValue[];
  stateRemoved?: RemovedKey[];
  stateNext?: string;
  /** The first page of the room's members; `id`: which of them the client is. */
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
  /** Rooms that are not here could not be served: ask for them again. */
  rooms: Record<string, CatchUp>;
  /** Rooms whose membership was lost and has been put again. */
  renewed?: string[];
  /** Rooms that the connection may not be in. */
  forbidden?: string[];
  /** When to sync the rooms of this frame again. */
  syncAfterMs?: number;
  /** The newest list of members of each room that was asked for with one. */
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
  /** Whether the page is one of the list. If not, the room is too large for one, and the page a look at who is there. */
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

/** How a room's list of members has changed. With nothing but `rev` and `count` the room has no list. */
export interface PresenceFrame extends PresenceRev {
  type: "presence";
  roomId: string;
  /** The list that it changes. */
  after?: number;
  joined?: Member[];
  left?: string[];
  /** The change is too large for a frame. */
  reload?: boolean;
}

/** A message for those who are there. */
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
  /** How long to wait before the next attempt, where the server knows. */
  retryAfterMs?: number;
  /** `token_expired`: the frame was refused because of its connection, which is closed. */
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
/** What goes to everybody in a room. */
export type BroadcastFrame = MessagesFrame | PresenceFrame | EphemeralFrame;
/** A frame from the server, checked. */
export type Inbound = ReplyFrame | BroadcastFrame | ErrorFrame;
export type Reply<T extends ReplyFrame["type"]> = Extract<ReplyFrame, { type: T }>;

/** What a `joinRoom` asks for besides messages. */
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

/** Whether an answer of the log brings a page of the room's state: only a `joined` does. */
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
  // By whole characters: a surrogate pair, of length 2, takes four bytes.
  let bytes = 0;
  for (const character of text) bytes += character < "\x80" ? 1 : character < "\u0800" ? 2 : character.length + 2;
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
    throw new RoomcastError("too_large", `the frame has ${bytes} bytes`);
  }
  return { text, bytes };
}
