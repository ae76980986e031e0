import { describe, expect, it, vi } from "vitest";
import type { Room } from "../../src/index.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const HOUR = 3_600_000;

async function watched(): Promise<Room> {
  const client = await fake.world.connected();
  const room = client.room("fx");
  await during(room.join({ state: true }));
  return room;
}

const put = (key: string, data: unknown, more: object = {}) => fake.world.server.publish("fx", [{ key, data, ...more }]);
const remove = (key: string, more: object = {}) => put(key, null, { remove: true, ...more });
const shown = (room: Room) => Object.fromEntries([...room.state].map(([key, { data }]) => [key, data]));

/** What somebody sees who joins now. */
async function seenByOthers(): Promise<Record<string, unknown>> {
  return shown(await watched());
}

describe("what is known of a key without a value", () => {
  it.each([
    ["was removed", () => remove("a", { version: 8, sentAt: Date.now() - 30 * HOUR })],
    ["has ended", () => put("a", "ended", { version: 8, ttlSeconds: 1, sentAt: Date.now() - 30 * HOUR })],
  ])("stays for as long as the log retains the message, whenever it says that it was sent: one that %s", async (_what, end) => {
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
