import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { describe, expect, inject, it } from "vitest";
import type * as library from "../../src/index.js";
import { during, inFakeTime, pass } from "../support/world.js";

const { folder } = inject("packed");
const fake = inFakeTime();

/** The URL of old React Natives: it can be made and printed, nothing else. */
class OldUrl {
  readonly href: string;

  constructor(text: string) {
    this.href = text;
  }

  toString(): string {
    return this.href;
  }

  get searchParams(): { set(): void; append(): void } {
    const missing = () => {
      throw new Error("not implemented");
    };
    return { set: missing, append: missing };
  }

  get protocol(): string {
    throw new Error("not implemented");
  }
}

/**
 * The exports that a React Native bundle gets with `require`, in a global object with less than browsers and Node have.
 */
function requireIn(globals: object): typeof library {
  const context = createContext({ setTimeout, clearTimeout, queueMicrotask, Date, ...globals });
  const source = readFileSync(join(folder, "node_modules/roomcast-client/dist/index.cjs"), "utf8");
  const module = { exports: {} };
  const require = () => {
    throw new Error("nothing can be required");
  };
  const load = runInContext(`(function (module, exports, require) {${source}\n})`, context) as (
    ...given: unknown[]
  ) => void;
  load(module, module.exports, require);
  return module.exports as typeof library;
}

describe("the package in React Native", () => {
  // Globals that are not listed are absent: no crypto, performance, TextEncoder, AbortController.
  it.each([
    ["an old URL", OldUrl],
    ["no URL", undefined],
  ])("works with %s", async (_name, URL) => {
    const { world } = fake;
    const { Roomcast, RoomcastError } = requireIn({ WebSocket: world.network.WebSocket, URL, WeakRef: undefined });
    const client = new Roomcast({ url: "wss://fake/prod?stage=a", token: "ålice & co" });
    await during(client.connect());
    expect(world.network.last.url.href).toBe("wss://fake/prod?stage=a&token=%C3%A5lice%20%26%20co");
    expect(world.network.last.sub).toBe("ålice & co");
    const room = client.room<{ text: string }>("lobby");
    const seen: string[] = [];
    room.on("message", ({ data }) => seen.push(data.text));
    await during(room.join());
    const ids = [await during(room.send({ text: "one" })), await during(room.send({ text: "zwölf €" }))].map(
      ({ id }) => id,
    );
    await pass(1_000);
    expect(seen).toEqual(["one", "zwölf €"]);
    expect(new Set(ids).size).toBe(2);
    await expect(during(room.send({ text: "€".repeat(11_000) }))).rejects.toMatchObject({ code: "too_large" });
    world.network.last.cut();
    world.server.publish("lobby", [{ data: { text: "meanwhile" } }]);
    await pass(5_000);
    expect(seen).toEqual(["one", "zwölf €", "meanwhile"]);
    expect(() => new Roomcast({ url: "nonsense", token: "t" })).toThrow(RoomcastError);
    await during(room.leave());
    client.close();
    expect(client.state).toBe("closed");
  });
});
