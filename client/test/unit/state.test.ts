import { describe, expect, it, vi } from "vitest";
import type { KeyChange, Room } from "../../src/index.js";
import { changes, inStateRoom, shown } from "../support/state-room.js";
import { collect, during, failure, pass } from "../support/world.js";

const { fake, put, remove, watched } = inStateRoom();
const CHUNK = 64;

describe("a room's state", () => {
  it("is there with the first answer", async () => {
    put("EURUSD", 1.08, { version: 7, ttlSeconds: 30, from: "eu" });
    put("DEM", 1.9);
    remove("DEM");
    const room = await watched();
    expect(room.state.isReady).toBe(true);
    await room.state.ready;
    const seq = (room.seq ?? 0) - 2;
    const sentAt = Date.now() - 10;
    const entry = {
      data: 1.08,
      seq,
      version: 7,
      from: "eu",
      sentAt: expect.any(Number) as number,
      expiresAt: expect.any(Number) as number,
    };
    expect([...room.state]).toEqual([["EURUSD", entry]]);
    expect(room.state.get("EURUSD")?.expiresAt).toBe((room.state.get("EURUSD")?.sentAt ?? sentAt) + 30_000);
    expect([room.state.size, room.state.has("EURUSD"), room.state.has("DEM")]).toEqual([1, true, false]);
    expect([[...room.state.keys()], [...room.state.values()]]).toEqual([["EURUSD"], [entry]]);
    const each: unknown[] = [];
    room.state.forEach((value, key, map) => {
      each.push([key, value, map === room.state]);
    });
    expect(each).toEqual([["EURUSD", entry, true]]);
    expect(fake.world.server.received("getState")).toEqual([]);
  });

  it("is read in pages, and shown when the last is there", async () => {
    for (let n = 0; n < CHUNK; n++) put(`k${String(n).padStart(2, "0")}`, n);
    fake.world.server.statePage = { joined: 10, next: 20 };
    const client = await fake.world.connected();
    const room = client.room("fx");
    const told = changes(room);
    const { seq } = await during(room.join({ state: true }));
    expect([room.state.size, room.state.isReady, told]).toEqual([0, false, []]);
    await during(room.state.ready);
    expect(Object.values(shown(room))).toEqual(Array.from({ length: CHUNK }, (_, n) => n));
    expect(told).toEqual([`snapshot of ${CHUNK}`]);
    const asked = fake.world.server.received("getState").map(({ after, seq }) => [after, seq]);
    expect(asked).toEqual([
      ["k09", seq],
      ["k29", seq],
      ["k49", seq],
    ]);
  });

  it("is read from its beginning if the answer had no room for any of it", async () => {
    put("a", 1);
    fake.world.server.statePage = { joined: 0, next: 500 };
    const room = await watched();
    await during(room.state.ready);
    expect(shown(room)).toEqual({ a: 1 });
    expect(fake.world.server.received("getState")).toHaveLength(1);
    expect(fake.world.server.received("getState")[0]).not.toHaveProperty("after");
  });

  it("follows messages, and tells each change", async () => {
    put("a", 1);
    const room = await watched();
    const told = changes(room);
    put("a", 2);
    put("b", 1, { version: 5 });
    put("b", 0, { version: 3 });
    put("b", 9);
    remove("a");
    remove("b", { version: 4 });
    fake.world.server.publish("fx", [{ data: "no key" }]);
    await pass(50);
    expect(told).toEqual(["a set 1 -> 2", "b set undefined -> 1", "a removed 2 -> undefined"]);
    expect(shown(room)).toEqual({ b: 1 });
  });

  it.each([1, 10])("is one map, however broadcasts are packed (%i to a frame)", async (packSize) => {
    fake.world.server.packSize = packSize;
    const room = await watched();
    const versions = [5, undefined, 3, 5, 7, undefined, 6];
    const drafts = versions.map((version, n) => ({ key: "k", data: n, ...(version !== undefined && { version }) }));
    fake.world.server.publish("fx", drafts);
    await pass(50);
    expect(shown(room)).toEqual({ k: 4 });
  });

  it("never goes back to an older version, after a removal either", async () => {
    put("a", 1, { version: 7 });
    remove("a", { version: 8 });
    const room = await watched();
    put("a", "old", { version: 6 });
    put("b", 1, { version: 2 });
    remove("b", { version: 3 });
    put("b", "old", { version: 1 });
    await pass(50);
    expect(shown(room)).toEqual({});
    put("a", "new", { version: 9 });
    await pass(50);
    expect(shown(room)).toEqual({ a: "new" });
  });

  it("forgets versions when the log could not bring an older message any more", async () => {
    fake.world.server.retentionSeconds = 60;
    const room = await watched();
    put("a", 1, { version: 7 });
    remove("a", { version: 8 });
    await pass(61_000);
    put("a", "afresh", { version: 1 });
    await pass(50);
    expect(shown(room)).toEqual({ a: "afresh" });
  });

  it("applies a message ahead of those who read messages", async () => {
    const room = await watched();
    const seen: unknown[] = [];
    room.on("message", ({ data }) => seen.push([data, room.state.get("a")?.data]));
    put("a", 1);
    await pass(50);
    expect(seen).toEqual([[1, 1]]);
  });

  it("hands removals to those who read messages, without asking `parse`", async () => {
    const client = await fake.world.connected();
    const room = client.room<number>("fx", { parse: (data) => (data as { n: number }).n });
    await during(room.join({ state: true }));
    const seen = collect(room as Room);
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    put("a", { n: 1 });
    put("a", null);
    remove("a");
    await pass(50);
    expect(seen.map(({ data, remove: removes }) => [data, removes])).toEqual([
      [1, undefined],
      [null, true],
    ]);
    expect(errors).toEqual(["bad_data"]);
    expect(room.state.size).toBe(0);
  });

  it("checks values with `parse`, in pages too: one that fails is none", async () => {
    put("a", 1);
    put("b", "two");
    const client = await fake.world.connected();
    const room = client.room<number>("fx", {
      parse: (data) => {
        if (typeof data !== "number") throw new TypeError("no number");
        return data;
      },
    });
    const errors: string[] = [];
    room.on("error", ({ code, roomId }) => errors.push(`${code} ${roomId}`));
    await during(room.join({ state: true }));
    expect(shown(room as Room)).toEqual({ a: 1 });
    put("a", "one");
    await pass(50);
    expect(shown(room as Room)).toEqual({});
    expect(errors).toEqual(["bad_data fx", "bad_data fx"]);
  });

  it("does not stall without readers, and takes no backlog for the first one", async () => {
    const room = await watched({ bufferSize: 10 });
    const stalled: unknown[] = [];
    room.on("stalled", (event) => stalled.push(event));
    for (let n = 0; n < 50; n++) put("a", n);
    await pass(100);
    expect([shown(room), stalled]).toEqual([{ a: 49 }, []]);
    const seen = collect(room);
    put("a", 50);
    await pass(100);
    expect(seen.map(({ data }) => data)).toEqual([50]);
  });

  it("goes on when the only reader stops", async () => {
    const room = await watched({ bufferSize: 10 });
    const iterator = room[Symbol.asyncIterator]();
    for (let n = 0; n < 50; n++) put("a", n);
    await pass(100);
    expect(room.stalled).toBe(true);
    await iterator.return();
    await pass(5_000);
    expect([room.stalled, shown(room)]).toEqual([false, { a: 49 }]);
  });

  it("may be asked for later", async () => {
    put("a", 1);
    const { room } = await fake.world.joined({}, "fx");
    expect([room.state.isReady, room.state.size]).toEqual([false, 0]);
    put("b", 2);
    void room.join({ state: true });
    await during(room.state.ready);
    expect(shown(room)).toEqual({ a: 1, b: 2 });
    expect(room.status).toBe("joined");
  });

  it("is read for a join from a position too", async () => {
    const old = put("a", 1);
    put("b", 2);
    const client = await fake.world.connected();
    const room = client.room("fx");
    const seen = collect(room);
    await during(room.join({ after: old, state: true }));
    await during(room.state.ready);
    expect(shown(room)).toEqual({ a: 1, b: 2 });
    expect(seen.map(({ data }) => data)).toEqual([2]);
  });
});

describe("a value with an end", () => {
  it("ends by itself, and its version stays known", async () => {
    put("a", 1, { ttlSeconds: 30, version: 5 });
    const room = await watched();
    const told = changes(room);
    await pass(29_000);
    expect(told).toEqual([]);
    await pass(1_100);
    expect([told, room.state.size]).toEqual([["a expired 1 -> undefined"], 0]);
    put("a", "old", { version: 4 });
    await pass(50);
    expect(room.state.size).toBe(0);
    put("a", 2, { ttlSeconds: 30, version: 5 });
    await pass(20_000);
    put("a", 3, { ttlSeconds: 30, version: 5 });
    await pass(20_000);
    expect(shown(room)).toEqual({ a: 3 });
  });

  it.each([5 * 60_000, -5 * 60_000])("goes by the server's clock, which may be %i ms ahead", async (ahead) => {
    fake.world.server.clockAhead = ahead;
    put("a", 1, { ttlSeconds: 30 });
    put("b", 1, { ttlSeconds: 3 });
    await pass(4_000);
    const room = await watched();
    put("c", 1, { ttlSeconds: 10 });
    await pass(1_000);
    expect(shown(room)).toEqual({ a: 1, c: 1 });
    await pass(9_500);
    expect(shown(room)).toEqual({ a: 1 });
    await pass(16_000);
    expect(shown(room)).toEqual({});
  });

  it.each([
    ["in time where the wall clock is", 26_000, true],
    ["soon where the only clock is", 60_000, false],
  ])("ends %s set back by an hour", async (_when, ms, hasOther) => {
    if (!hasOther) vi.stubGlobal("performance", undefined);
    put("a", 1, { ttlSeconds: 30 });
    const room = await watched();
    await pass(5_000);
    vi.setSystemTime(Date.now() - 3_600_000);
    await pass(20_000);
    expect(shown(room)).toEqual({ a: 1 });
    await pass(ms - 20_000);
    expect(shown(room)).toEqual({});
  });
});

describe("a join at once after leaving", () => {
  it("shows nothing that is older than what was seen, although the server uses pages again", async () => {
    fake.world.server.stateCacheMs = 1_000;
    put("a", 1);
    put("b", 1);
    const room = await watched();
    put("a", 2);
    remove("b", { version: 1 });
    await pass(50);
    const told = changes(room);
    void room.leave();
    await during(room.join({ state: true }));
    expect([shown(room), told]).toEqual([{ a: 2 }, ["snapshot of 1"]]);
    await pass(5_000);
    expect([shown(room), told.length]).toEqual([{ a: 2 }, 1]);
  });
});

describe("set and remove", () => {
  it("send a message with the key", async () => {
    const room = await watched();
    const told: KeyChange[] = [];
    room.state.on("change", (change) => told.push(change));
    await during(room.state.set("a", { bid: 1 }, { version: 3, ttlSeconds: 60 }));
    await pass(50);
    expect(room.state.get("a")).toMatchObject({ data: { bid: 1 }, version: 3, from: "alice" });
    await during(room.state.remove("a", { version: 4 }));
    await pass(50);
    expect(told.map(({ reason }) => reason)).toEqual(["set", "removed"]);
    const sent = fake.world.server.received("sendMessage").map(({ id: _id, requestId: _request, ...frame }) => frame);
    expect(sent).toEqual([
      { action: "sendMessage", roomId: "fx", key: "a", version: 3, ttlSeconds: 60, data: { bid: 1 } },
      { action: "sendMessage", roomId: "fx", key: "a", version: 4, remove: true, data: null },
    ]);
  });

  it.each([{ ttlSeconds: 0 }, { ttlSeconds: 31_536_001 }, { ttlSeconds: 1.5 }, { version: -1 }])(
    "do not take %j",
    async (options) => {
      const room = await watched();
      expect(await failure(room.state.set("a", 1, options))).toMatchObject({ code: "bad_request" });
    },
  );

  it("do not take a bad key", async () => {
    const room = await watched();
    expect(await failure(room.state.set("", 1))).toMatchObject({ code: "bad_request" });
    expect(await failure(room.state.remove("x".repeat(65)))).toMatchObject({ code: "bad_request" });
  });
});

describe("listeners of state", () => {
  it("may leave the room: nothing more is told", async () => {
    put("a", 1, { ttlSeconds: 10 });
    put("b", 1, { ttlSeconds: 10 });
    const room = await watched();
    const told: string[] = [];
    room.state.on("change", ({ key }) => {
      told.push(key);
      void room.leave();
    });
    await pass(11_000);
    expect([told, room.state.size]).toEqual([["a"], 0]);
    expect(vi.getTimerCount()).toBeLessThan(5);
  });
});
