import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { useRoom } from "../../src/react/index.js";
import { ChatApp } from "../support/chat-app.js";
import { inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

describe("the hooks on a server", () => {
  it("render a room that is not joined, and connect to nothing", async () => {
    const client = fake.world.client();
    const html = renderToString(createElement(ChatApp, { client, view: { rooms: ["lobby", "lobby"], key: "a" } }));
    expect(html).toContain('data-state="closed"');
    expect(html).toContain('data-room="lobby" data-state="left" data-heard="0" data-loading="true" data-more="false"');
    await pass(1_000);
    expect(fake.world.network.sockets).toEqual([]);
  });

  it("say what is missing when there is no provider", () => {
    const Lost = () => createElement("p", undefined, useRoom("lobby").status);
    expect(() => renderToString(createElement(Lost))).toThrow("there is no RoomcastProvider above this component");
  });
});
