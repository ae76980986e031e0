import { createElement, StrictMode, version } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { Roomcast } from "../../src/index.js";
import { ChatApp, torn, type View } from "../support/chat-app.js";

declare global {
  interface Window {
    app: { show(view: View | undefined): void; torn: string[]; version: string };
  }
}

/** The page of react.test.ts: in StrictMode; over the HTML of a server if there is some. */
const config = (await (await fetch("/config.json")).json()) as { websocketUrl: string };
const client = new Roomcast({ url: config.websocketUrl, token: "alice", reconnect: { base: 50, cap: 100 } });
const tree = (view: View | undefined) =>
  view === undefined ? null : createElement(StrictMode, undefined, createElement(ChatApp, { client, view }));
const container = document.querySelector("#root") as HTMLElement;
const rendered = container.firstElementChild !== null;
const root: Root = rendered ? hydrateRoot(container, tree({ rooms: ["lobby"], key: "a" })) : createRoot(container);
window.app = { show: (view) => root.render(tree(view)), torn, version };
