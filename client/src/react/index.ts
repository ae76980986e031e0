"use client";

export {
  useMessages,
  usePresence,
  type UseMessages,
  type UseMessagesOptions,
  useRoom,
  type UseRoom,
  useRoomcast,
  type UseRoomcast,
  useRoomEvent,
  useRoomState,
  type UseRoomOptions,
} from "./hooks.js";
export { RoomcastProvider, type RoomcastProviderProps } from "./provider.js";
export type { ConnectionSnapshot } from "./connection-store.js";
export type { MessagesSnapshot } from "./message-list.js";
export type { Attended, PresenceSnapshot } from "./presence-store.js";
export type { RoomSnapshot } from "./room-store.js";
export type { StateSnapshot } from "./state-store.js";
