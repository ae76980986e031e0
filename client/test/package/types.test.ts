import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { CLEAN, type Compilation, runTsc } from "../support/tsc.js";

const { folder } = inject("packed");

const USE = `
  const client = new Roomcast({ url: "wss://x", token: async ({ refused }) => (refused ? "a" : "b") });
  client.on("error", (error: RoomcastError) => error.retryable satisfies boolean);
  export async function use(): Promise<void> {
    const room = client.room<{ text: string }>("lobby");
    await room.join({ after: 0 });
    const { id } = await room.send({ text: "hi" }, { key: "k", version: 1 });
    id satisfies string;
    room.on("message", (message: Message<{ text: string }>) => message.data.text satisfies string);
    await room.join({ state: true, presence: { name: "Ann" } });
    room.state satisfies ReadonlyMap<string, StateEntry<{ text: string }>>;
    room.state.on("change", ({ entry, reason }) => [entry?.data.text satisfies string | undefined, reason satisfies string]);
    await room.state.set("k", { text: "hi" }, { version: 1, ttlSeconds: 5 });
    // @ts-expect-error: not what the room's values are
    await room.state.set("k", 7);
    room.presence.members satisfies readonly Member[];
    room.presence.on("updated", ({ id, previous }) => [id satisfies string, previous satisfies unknown]);
    (await room.sendEphemeral(true, { key: "typing" })) satisfies boolean;
    for await (const { data } of room) data.text satisfies string;
    // @ts-expect-error: there is no such event
    room.on("nothing", () => {});
  }
`;
const CORE = `import { Roomcast, type Member, type Message, type RoomcastError, type StateEntry } from "roomcast-client";${USE}`;
const REACT = `
  import { Roomcast } from "roomcast-client";
  import { RoomcastProvider, useMessages, usePresence, useRoom, useRoomcast, useRoomEvent, useRoomState } from "roomcast-client/react";
  import { createElement } from "react";
  export function Chat() {
    const { client, state } = useRoomcast();
    client satisfies Roomcast;
    state satisfies string;
    const { room, send, error } = useRoom<{ text: string }>("lobby", { after: 0 });
    error?.code satisfies string | undefined;
    void send({ text: "hi" });
    useRoomEvent(room, "truncated", ({ certain }) => certain satisfies boolean);
    const { messages } = useMessages(room, { limit: 10, history: 5 });
    useRoomState(room).entries.get("k")?.data.text satisfies string | undefined;
    useRoomState(room, "k")?.data.text satisfies string | undefined;
    usePresence<{ name: string }>(room).members[0]?.data?.name satisfies string | undefined;
    // @ts-expect-error: data has no such field
    messages[0]?.data.texts;
    return createElement("p", undefined, messages[0]?.data.text);
  }
  createElement(RoomcastProvider, { client: new Roomcast({ url: "wss://x", token: "t" }) }, createElement(Chat));
`;

/** Compiles files with nothing but the package around them. */
function compile(name: string, sources: Record<string, string>, compilerOptions: object): Compilation {
  const project = join(folder, name);
  mkdirSync(project);
  for (const [file, source] of Object.entries(sources)) writeFileSync(join(project, file), source);
  const options = { noEmit: true, strict: true, target: "ES2022", lib: ["ES2022"], types: [], ...compilerOptions };
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: Object.keys(sources) }),
  );
  return runTsc(project);
}

describe("the package's types", () => {
  // Checks the declarations themselves too: skipLibCheck is off.
  it.each(["Node16", "NodeNext"])("need neither the DOM nor Node, for import and for require (%s)", (module) => {
    expect(compile(`core-${module}`, { "use.mts": CORE, "use.cts": CORE }, { module })).toEqual(CLEAN);
  });

  it("suit bundlers", () => {
    expect(compile("core-bundler", { "use.ts": CORE }, { module: "ESNext", moduleResolution: "Bundler" })).toEqual(
      CLEAN,
    );
  });

  // React's own types need the DOM.
  const dom = { lib: ["ES2022", "DOM"], skipLibCheck: true };

  it("have the hooks, for import and for require", () => {
    expect(compile("react-node", { "use.mts": REACT, "use.cts": REACT }, { module: "NodeNext", ...dom })).toEqual(
      CLEAN,
    );
  });

  it("have the hooks, for bundlers", () => {
    expect(
      compile("react-bundler", { "use.ts": REACT }, { module: "ESNext", moduleResolution: "Bundler", ...dom }),
    ).toEqual(CLEAN);
  });

  it("are found by tools that do not know `exports`", () => {
    expect(compile("old", { "use.ts": REACT }, { module: "CommonJS", moduleResolution: "Node10", ...dom })).toEqual(
      CLEAN,
    );
  });

  it("are not those of an ES module for what is required", () => {
    const source = `
      import type { Roomcast } from "roomcast-client";
      import library = require("roomcast-client");
      new library.Roomcast({} as never) satisfies Roomcast;
    `;
    expect(compile("commonjs", { "use.cts": source }, { module: "Node16" })).toEqual(CLEAN);
  });
});
