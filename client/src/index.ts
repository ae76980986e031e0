export type { AbortSignalLike, CallOptions } from "./abort.js";
export { type ClientEvents, Roomcast } from "./client.js";
export type { MessageIterator } from "./delivery.js";
export type { Emitter } from "./emitter.js";
export type { Ephemeral, EphemeralOptions } from "./ephemeral.js";
export {
  type ClientErrorCode,
  type ErrorCode,
  type ErrorDetails,
  RoomcastError,
  type ServerErrorCode,
} from "./errors.js";
export type { Member } from "./frames.js";
export type { ConnectionState, StateChange } from "./lifecycle.js";
export { MAX_CLIENT_FRAME_BYTES } from "./limits.js";
export type { Logger } from "./logger.js";
export type { Gap, Recovery, Truncation } from "./loss.js";
export type { Message } from "./message.js";
export type { NetworkTarget } from "./network.js";
export type { RoomcastOptions, TokenProvider, TokenRequest } from "./options.js";
export type { Presence } from "./presence.js";
export type { PageOptions, PresenceEvents, PresencePage } from "./presence-types.js";
export type { Room } from "./room.js";
export type { HistoryOptions, HistoryPage, JoinOptions, RoomEvents, RoomOptions, RoomStatus } from "./room-types.js";
export type { Accepted, SendOptions } from "./send.js";
export type { StateMap } from "./state-map.js";
export type { KeyChange, SetOptions, StateEntry, StateEvents } from "./state-types.js";
export type { Backoff } from "./timing.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
