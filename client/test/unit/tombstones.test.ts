import { describe, expect, it, vi } from "vitest";
import type { JoinedFrame, LoggedMessage } from "../../src/frames.js";
import { RoomcastError } from "../../src/index.js";
import { StateMap } from "../../src/state-map.js";
import { inStateRoom, shown } from "../support/state-room.js";
import { during, pass } from "../support/world.js";

const { fake, put, remove, watched } = inStateRoom();
const HOUR = 3_600_000;

/** The values that a new client sees. */
async function seenByOthers(): Promise<Record<string, unknown>> {
  return shown(await watched());
}

describe("what is known of a key without a value", () => {
  it.each([
    ["was removed", () => remove("a", { version: 8, sentAt: Date.now() - 30 * HOUR })],
    ["has ended", () => put("a", "ended", { version: 8, ttlSeconds: 1, sentAt: Date.now() - 30 * HOUR })],
  ])(
    "stays for as long as the log retains the message, whenever it says that it was sent: one that %s",
    async (_what, end) => {
      const room = await watched();
      put("a", 1, { version: 7 });
      end();
      await pass(2_000);
      put("a", "old", { version: 6 });
      await pass(50);
      expect([shown(room), await seenByOthers()]).toEqual([{}, {}]);
      await pass(23 * HOUR);
      put("a", "old", { version: 6 });
      await pass(50);
      expect([shown(room), await seenByOthers()]).toEqual([{}, {}]);
    },
  );

  it("stays for as long as a log retains messages for a month", async () => {
    fake.world.server.retentionSeconds = 30 * 86_400;
    const room = await watched();
    remove("a", { version: 8 });
    await pass(7 * 24 * HOUR);
    put("a", "old", { version: 6 });
    await pass(50);
    expect([shown(room), await seenByOthers()]).toEqual([{}, {}]);
  });

  it("stays for as long as the log retains what it has beaten", async () => {
    const room = await watched();
    remove("a", { version: 8 });
    await pass(23 * HOUR);
    put("a", "old", { version: 6 });
    await pass(23 * HOUR);
    put("a", "older", { version: 5 });
    await pass(50);
    expect([shown(room), await seenByOthers()]).toEqual([{}, {}]);
    await pass(25 * HOUR);
    put("a", "afresh", { version: 1 });
    await pass(50);
    expect([shown(room), await seenByOthers()]).toEqual([{ a: "afresh" }, { a: "afresh" }]);
  });

  it("stays for as long as there is a value, although that cannot be read", async () => {
    const client = await fake.world.connected();
    const parse = (data: unknown) => {
      if (data === "bad") throw new TypeError("bad");
      return data;
    };
    const room = client.room("fx", { parse });
    await during(room.join({ state: true }));
    const reasons: string[] = [];
    room.state.on("change", ({ reason }) => reasons.push(reason));
    put("a", 1, { version: 7 });
    put("a", "bad", { version: 8, ttlSeconds: 3_600 });
    put("b", "bad", { version: 8 });
    await pass(50);
    expect(reasons).toEqual(["set", "removed"]);
    await pass(24 * HOUR);
    put("a", "old", { version: 6 });
    put("b", "old", { version: 6 });
    await pass(50);
    expect(shown(room)).toEqual({});
  });
});

const JOINED: JoinedFrame = {
  type: "joined",
  roomId: "fx",
  seq: 0,
  messages: [],
  more: false,
  truncated: false,
  retentionSeconds: 86_400,
};

/** A map by itself, of a room that is joined and was empty. */
function mapOfItsOwn(): StateMap {
  const nothing = () => Promise.reject(new Error("nobody asks"));
  const ports = {
    parse: (data: unknown) => data,
    page: nothing,
    set: nothing,
    remove: nothing,
    serverNow: Date.now,
    skip() {},
    error() {},
    used() {},
  };
  const map = new StateMap(ports);
  map.joined({ ...JOINED, state: [] }, undefined);
  return map;
}

const message = (seq: number, more: Partial<LoggedMessage>): LoggedMessage => ({
  seq,
  id: `m${seq}`,
  from: "eu",
  sentAt: Date.now(),
  data: seq,
  ...more,
});

describe("keys that are used once", () => {
  it.each([
    ["end", { ttlSeconds: 5 }],
    ["are removed", { remove: true, data: null }],
  ])("and %s take no memory after a minute, if they have no version", async (_what, more) => {
    const kept = vi.spyOn(Map.prototype, "set");
    const map = mapOfItsOwn();
    map.apply([message(1, { key: "stays" }), message(2, { key: "versioned", version: 1, remove: true })]);
    const maps = kept.mock.contexts as Map<unknown, unknown>[];
    const slots = maps.find((each) => each.size === 2 && each.has("versioned")) as Map<string, unknown>;
    for (let seq = 3; seq < 103; seq++) map.apply([message(seq, { key: `once ${seq}`, ...more })]);
    expect(slots.size).toBe(102);
    await pass(70_000);
    expect([[...slots.keys()], [...map.keys()]]).toEqual([["stays", "versioned"], ["stays"]]);
    map.pause();
  });

  it("are not all looked at whenever one ends", async () => {
    const map = mapOfItsOwn();
    for (let n = 0; n < 1_000; n++)
      map.apply([message(n + 1, { key: `k${n}`, version: 1, ttlSeconds: 5, sentAt: Date.now() + 4 * n })]);
    const ended: number[] = [];
    map.on("change", ({ previous }) => ended.push(Date.now() - (previous?.expiresAt ?? 0)));
    const looks = vi.spyOn(Map.prototype, Symbol.iterator);
    await pass(11_000);
    expect(ended).toHaveLength(1_000);
    expect(Math.max(...ended)).toBeLessThanOrEqual(1_000);
    expect((looks.mock.contexts as Map<unknown, unknown>[]).filter(({ size }) => size === 1_000).length).toBeLessThan(
      10,
    );
    map.pause();
  });
});

describe("a room that was left", () => {
  it("keeps nothing for longer than the server uses pages again", async () => {
    const kept = vi.spyOn(Map.prototype, "set");
    const map = mapOfItsOwn();
    map.apply([message(1, { key: "a" }), message(2, { key: "b" })]);
    const slots = (kept.mock.contexts as Map<unknown, unknown>[]).find(
      (each) => each.size === 2 && each.has("a"),
    ) as Map<string, unknown>;
    expect([slots.size, map.size]).toEqual([2, 2]);
    map.end(new RoomcastError("left", "the room was left"));
    await pass(6_000);
    expect([slots.size, map.size, vi.getTimerCount()]).toEqual([0, 0, 0]);
  });

  it("keeps what it has when it is joined again soon", async () => {
    const map = mapOfItsOwn();
    const first = { key: "a", ...message(1, { ttlSeconds: 10 }) };
    map.apply([first]);
    map.end(new RoomcastError("left", "the room was left"));
    await pass(1_000);
    map.joined({ ...JOINED, seq: 1, state: [first] }, undefined);
    await pass(8_000);
    expect(map.size).toBe(1);
    await pass(4_000);
    expect(map.size).toBe(0);
    map.pause();
  });
});
