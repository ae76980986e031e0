"use client";

export type { ConnectionSnapshot } from "./connection-store.js";
export {
  type UseMessages,
  type UseMessagesOptions,
  type UseRoom,
  type UseRoomcast,
  type UseRoomOptions,
  useMessages,
  usePresence,
  useRoom,
  useRoomcast,
  useRoomEvent,
  useRoomState,
} from "./hooks.js";
export type { MessagesSnapshot } from "./message-list.js";
export type { Attended, PresenceSnapshot } from "./presence-store.js";
export { RoomcastProvider, type RoomcastProviderProps } from "./provider.js";
export type { RoomSnapshot } from "./room-store.js";
export type { StateSnapshot } from "./state-store.js";
