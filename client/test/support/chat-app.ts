import { createElement, type ReactElement, useLayoutEffect, useState } from "react";
import type { Roomcast } from "../../src/index.js";
import {
  RoomcastProvider,
  useMessages,
  usePresence,
  useRoom,
  useRoomcast,
  useRoomEvent,
  useRoomState,
} from "../../src/react/index.js";

/** An application with the hooks, for tests: `view` says what is on the page. */
export function ChatApp({ client, view }: { client: Roomcast; view: View }): ReactElement {
  return createElement(RoomcastProvider, { client }, createElement(Status), createElement(Chats, { view }));
}

export interface View {
  /** The room of each chat on the page. */
  rooms: string[];
  /** Part of each chat's key: another one mounts them anew. */
  key: string;
  /** The chats are there without joining their rooms. */
  paused?: boolean;
  /** A board with the state and the members of a room, and the mood of the page's own member. */
  board?: { room: string; mood: string };
}

/** Commits in which two chats of a room showed different messages. */
export const torn: string[] = [];

function Chats({ view }: { view: View }): ReactElement {
  const chats = view.rooms.map((id, at) =>
    createElement(Chat, { id, paused: view.paused ?? false, key: `${view.key}-${at}` }),
  );
  const board = view.board && createElement(Board, { ...view.board, key: `board-${view.key}` });
  return createElement("main", undefined, ...chats, board);
}

function Status(): ReactElement {
  const { state, error } = useRoomcast();
  return createElement("p", { id: "status", "data-state": state }, `${state} ${error?.code ?? ""}`);
}

/** A board, of which one component wants the room's members, and another its state. */
function Board({ room: id, mood }: { room: string; mood: string }): ReactElement {
  const { room, status } = useRoom(id, { presence: { mood } });
  const { members, count, listed } = usePresence<{ mood: string }>(room);
  const faces = members.map(({ id: member, data }) =>
    createElement("li", { key: member }, `${member} is ${data?.mood}`),
  );
  const facts = { "data-status": status, "data-count": count, "data-listed": String(listed) };
  return createElement("article", facts, createElement("ul", undefined, ...faces), createElement(Values, { id }));
}

function Values({ id }: { id: string }): ReactElement {
  const { room } = useRoom(id, { state: true });
  const { entries, ready } = useRoomState(room);
  const values = [...entries].map(([key, { data }]) => `${key}=${data}`).join(" ");
  return createElement(
    "output",
    { "data-ready": String(ready) },
    createElement("b", undefined, values),
    createElement(Value, { id }),
  );
}

function Value({ id }: { id: string }): ReactElement {
  const { room } = useRoom(id);
  return createElement("i", undefined, String(useRoomState(room, "a")?.data));
}

function text(data: unknown): string {
  if (typeof data !== "string") throw new TypeError("not a text");
  return data;
}

function Chat({ id, paused }: { id: string; paused: boolean }): ReactElement {
  const { room, status, error, send } = useRoom(id, { parse: text, enabled: !paused });
  const { messages, loading, more, loadOlder } = useMessages(room, { limit: 20, history: 5 });
  const [heard, setHeard] = useState(0);
  useRoomEvent(room, "message", () => setHeard((before) => before + 1));
  useLayoutEffect(() => {
    const shown = [...document.querySelectorAll(`section[data-room="${id}"] ul`)].map((list) => list.textContent);
    if (new Set(shown).size > 1) torn.push(shown.join(" | "));
  });
  const items = messages.map(({ seq, data }) => createElement("li", { key: seq }, data));
  const facts = {
    "data-room": id,
    "data-state": status,
    "data-heard": heard,
    "data-loading": String(loading),
    "data-more": String(more),
  };
  return createElement(
    "section",
    facts,
    createElement("h2", undefined, `${id} ${error?.code ?? ""}`),
    createElement("ul", undefined, ...items),
    createElement("button", { type: "button", name: "older", onClick: () => void loadOlder() }, "Older"),
    createElement("button", { type: "button", name: "send", onClick: () => void send(`hi from ${id}`) }, "Send"),
  );
}
