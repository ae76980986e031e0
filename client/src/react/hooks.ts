import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Room, Roomcast, RoomEvents, RoomOptions, StateEntry } from "../index.js";
import { type ConnectionSnapshot, connectionStore, DISCONNECTED } from "./connection-store.js";
import { type MessagesSnapshot, messageList } from "./message-list.js";
import { type Attended, NOBODY, type PresenceSnapshot, presenceStore } from "./presence-store.js";
import { useClient } from "./provider.js";
import { NOT_JOINED, type RoomSnapshot, roomStore } from "./room-store.js";
import { NO_STATE, type StateSnapshot, stateStore } from "./state-store.js";

/** The result of `useRoomcast`. */
export interface UseRoomcast extends ConnectionSnapshot {
  client: Roomcast;
}

/** The client, with the state of its connection. On a server the state is `closed`. */
export function useRoomcast(): UseRoomcast {
  const client = useClient();
  const store = connectionStore(client);
  const connection = useSyncExternalStore(store.subscribe, store.snapshot, () => DISCONNECTED);
  return useMemo(() => ({ client, ...connection }), [client, connection]);
}

export interface UseRoomOptions<T> extends RoomOptions<T> {
  /** The `after` of `Room.join`: everything after this `seq` is delivered. It counts when the room is joined. */
  after?: number;
  /** Keeps the room's state, for `useRoomState`. */
  state?: boolean;
  /**
   * Keeps the room's list of members, for `usePresence`, and gives this data of the client, or none with `true`. Other
   * data is an update.
   */
  presence?: unknown;
  /** With `false` the component does not hold the room. Default true. */
  enabled?: boolean;
}

/** The result of `useRoom`. Its functions stay the same for as long as the room does. */
export interface UseRoom<T> extends RoomSnapshot {
  /**
   * The room itself, as `client.room(id)` returns it: for `useMessages`, for `useRoomEvent`, and for everything that
   * has no hook.
   */
  room: Room<T>;
  /** The room's `send`, which can be passed on by itself. */
  send: Room<T>["send"];
}

/**
 * A room that is joined for as long as any component with this hook is mounted, and left when the last is gone. A room
 * that the application has joined by itself stays joined.
 */
export function useRoom<T = unknown>(id: string, options: UseRoomOptions<T> = {}): UseRoom<T> {
  const client = useClient();
  const { after, state = false, presence, enabled = true, ...roomOptions } = options;
  const room = client.room<T>(id, roomOptions);
  const store = roomStore(client, room);
  const send = useMemo<Room<T>["send"]>(() => room.send.bind(room), [room]);
  const isMember = presence !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: `after` counts for a join only, and the effect below says `presence`.
  useEffect(() => (enabled ? store.hold(after, { state, presence }) : undefined), [store, enabled, state, isMember]);
  const said = isMember ? JSON.stringify(presence) : undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another object may say the same, so its text is compared.
  useEffect(() => {
    if (enabled && isMember) store.say(presence);
  }, [store, enabled, said]);
  const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, () => NOT_JOINED);
  return useMemo(() => ({ room, send, ...snapshot }), [room, send, snapshot]);
}

export interface UseMessagesOptions {
  /** Number of messages to keep. The oldest go first. Default 200. */
  limit?: number;
  /** Number of messages of the past to read at first, and with each `loadOlder`. 0 means none at first. Default 50. */
  history?: number;
}

/** The result of `useMessages`. */
export interface UseMessages<T> extends MessagesSnapshot<T> {
  /** Reads a page of older messages, which the list keeps beyond its limit. Never rejects. */
  loadOlder: () => Promise<void>;
}

/**
 * The messages of a room, as they come and with a page of the past before them, in order and without a hole between.
 * The list is updated at most once in 16 ms. The room must be joined, by `useRoom` or otherwise. Components with the
 * same room and options share the list.
 */
export function useMessages<T>(room: Room<T>, options: UseMessagesOptions = {}): UseMessages<T> {
  const { limit = 200, history = 50 } = options;
  const list = messageList(room, limit, history);
  const snapshot = useSyncExternalStore(list.subscribe, list.snapshot, list.initial);
  return useMemo(() => ({ ...snapshot, loadOlder: list.loadOlder }), [list, snapshot]);
}

/**
 * The state of a room: the entries of all keys, updated at most once in 16 ms, or the entry of one, which alone is
 * watched then. The room must be joined with `state`, by `useRoom` or otherwise.
 */
export function useRoomState<T>(room: Room<T>): StateSnapshot<T>;
export function useRoomState<T>(room: Room<T>, key: string): StateEntry<T> | undefined;
export function useRoomState<T>(room: Room<T>, key?: string): StateSnapshot<T> | StateEntry<T> | undefined {
  const store = stateStore(room);
  const subscribe = useMemo(() => (key === undefined ? store.subscribe : store.subscribeTo(key)), [store, key]);
  const snapshot = useCallback(() => (key === undefined ? store.snapshot() : room.state.get(key)), [store, room, key]);
  return useSyncExternalStore<StateSnapshot<T> | StateEntry<T> | undefined>(subscribe, snapshot, () =>
    key === undefined ? NO_STATE : undefined,
  );
}

/**
 * The members of a room. `P` is the type of their data, which nothing checks. The room must be joined with `presence`,
 * by `useRoom` or otherwise.
 */
export function usePresence<P = unknown>(room: Attended): PresenceSnapshot<P> {
  const store = presenceStore(room);
  return useSyncExternalStore(store.subscribe, store.snapshot, () => NOBODY) as PresenceSnapshot<P>;
}

/** Calls the newest `listener` for each `event` of the room, while mounted. */
export function useRoomEvent<T, E extends keyof RoomEvents<T>>(
  room: Room<T>,
  event: E,
  listener: (value: RoomEvents<T>[E]) => void,
): void {
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(() => room.on(event, (value) => newest.current(value)), [room, event]);
}
