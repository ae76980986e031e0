import { createElement, type ReactElement, useLayoutEffect, useState } from "react";
import type { Roomcast } from "../../src/index.js";
import { RoomcastProvider, useMessages, useRoom, useRoomcast, useRoomEvent } from "../../src/react/index.js";

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
}

/** Commits in which two chats of a room showed different messages. */
export const torn: string[] = [];

function Chats({ view }: { view: View }): ReactElement {
  const chats = view.rooms.map((id, at) => createElement(Chat, { id, paused: view.paused ?? false, key: `${view.key}-${at}` }));
  return createElement("main", undefined, ...chats);
}

function Status(): ReactElement {
  const { state, error } = useRoomcast();
  return createElement("p", { id: "status", "data-state": state }, `${state} ${error?.code ?? ""}`);
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
    createElement("button", { name: "older", onClick: () => void loadOlder() }, "Older"),
    createElement("button", { name: "send", onClick: () => void send(`hi from ${id}`) }, "Send"),
  );
}
