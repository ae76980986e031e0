"use client";

export {
  useMessages,
  type UseMessages,
  type UseMessagesOptions,
  useRoom,
  type UseRoom,
  useRoomcast,
  type UseRoomcast,
  useRoomEvent,
  type UseRoomOptions,
} from "./hooks.js";
export { RoomcastProvider, type RoomcastProviderProps } from "./provider.js";
export type { ConnectionSnapshot } from "./connection-store.js";
export type { MessagesSnapshot } from "./message-list.js";
export type { RoomSnapshot } from "./room-store.js";
