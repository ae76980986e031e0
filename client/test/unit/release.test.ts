import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { asyncDispose } from "../../src/disposal.js";
import type { Room } from "../../src/index.js";
import { RoomRegistry } from "../../src/room-registry.js";
import { during, failure, inFakeTime, pass } from "../support/world.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const { setImmediate: realImmediate } = globalThis;

/** Lets a turn of the real event loop pass, also in tests under fake time. */
const turn = () => new Promise((resolve) => realImmediate(resolve));

describe("release()", () => {
  const fake = inFakeTime();

  it("leaves the room and forgets it with its listeners; the id can be had anew", async () => {
    const { client, room } = await fake.world.joined();
    const heard: string[] = [];
    room.on("left", () => heard.push("left"));
    room.on("message", () => heard.push("message"));
    await during(client.release("lobby"));
    expect(room.status).toBe("left");
    expect(fake.world.server.members("lobby")).toEqual([]);
    expect(await failure(room.join())).toMatchObject({ code: "bad_request" });
    const again = client.room("lobby");
    expect(again).not.toBe(room);
    await during(again.join());
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(100);
    expect(heard).toEqual(["left"]);
    // The old room has no power over the new one.
    await room.release();
    expect(client.room("lobby")).toBe(again);
    expect(again.status).toBe("joined");
  });

  it("of a room that there is not does nothing", async () => {
    const client = await fake.world.connected();
    await client.release("nowhere");
    expect(fake.world.server.frames).toEqual([]);
  });

  it("keeps connect() from bringing the room back", async () => {
    const { client, room } = await fake.world.joined();
    client.close();
    await room.release();
    await during(client.connect());
    await pass(1_000);
    expect(fake.world.server.received("joinRoom")).toHaveLength(1);
  });

  it("is the end, also for a listener of `left` that joins again", async () => {
    const { client, room } = await fake.world.joined();
    room.on("left", () => void room.join());
    await during(client.release("lobby"));
    await pass(5_000);
    expect(room.status).toBe("left");
    expect(fake.world.server.members("lobby")).toEqual([]);
  });

  it("by the client does not end a process when nobody waits for it and the server never confirms", async () => {
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    const { client } = await fake.world.joined();
    fake.world.server.script = ({ action }) => (action === "leaveRoom" ? { code: "unavailable" } : undefined);
    void client.release("lobby");
    await pass(120_000);
    // Node tells of rejections that nobody handled when a turn of its event loop is over.
    await turn();
    process.off("unhandledRejection", onUnhandled);
    expect(unhandled).toEqual([]);
  });

  it("ends an iterator that is made afterwards", async () => {
    const { client, room } = await fake.world.joined();
    await during(client.release("lobby"));
    const next = room[Symbol.asyncIterator]().next();
    expect(await during(next)).toEqual({ done: true, value: undefined });
  });
});

describe("disposal", () => {
  const fake = inFakeTime();

  it("of a room leaves it, of an iterator ends it, of a client closes it", async () => {
    const { client, room } = await fake.world.joined();
    const iterator = room[Symbol.asyncIterator]();
    await iterator[asyncDispose]();
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await during(room[asyncDispose]());
    expect(fake.world.server.members("lobby")).toEqual([]);
    await client[asyncDispose]();
    expect(client.state).toBe("closed");
  });
});

describe("RoomRegistry", () => {
  type Fake = { id: string; idle: boolean };
  const make = (id: string, idle: boolean) => () => ({ id, idle }) as unknown as Room;

  it("forgets rooms that nobody has and nobody uses, and no others", async () => {
    const registry = new RoomRegistry();
    const held = registry.get("held", make("held", true));
    registry.get("joined", make("joined", false));
    for (let n = 0; n < 5_000; n++) {
      registry.get(`user:${n}`, make(`user:${n}`, true));
      if (n % 500 === 0) {
        // A weak reference holds until the turn of the event loop in which it was read is over.
        await turn();
        collectGarbage();
      }
    }
    await turn();
    collectGarbage();
    expect(registry.all().length).toBeLessThan(2_500);
    expect(registry.get("held", make("held", true))).toBe(held);
    expect((registry.find("joined") as unknown as Fake).idle).toBe(false);
  });
});
