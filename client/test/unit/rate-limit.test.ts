import { describe, expect, it } from "vitest";
import type { ClientFields } from "../support/peer.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const WAIT_MS = 5_000;

/** Times and rooms of the frames of one action, while each is answered `rate_limited`. */
let limited: { at: number; roomId: string | undefined }[];

/** Refuses every frame of `action` until told otherwise. */
function limit(action: string, applies: (frame: ClientFields) => boolean = () => true): () => void {
  limited = [];
  fake.world.server.script = (frame) => {
    if (frame.action !== action || !applies(frame)) return undefined;
    limited.push({ at: Date.now(), roomId: frame.roomId });
    return { code: "rate_limited", retryAfterMs: WAIT_MS };
  };
  return () => {
    fake.world.server.script = () => undefined;
  };
}

/** Frames that came in after the first answer was there, but before the wait was over. */
function tooEarly(frames: readonly { at: number }[]): number {
  const [first] = frames;
  expect(first).toBeDefined();
  const answeredAt = (first?.at ?? 0) + 10;
  return frames.filter(({ at }) => at > answeredAt && at < answeredAt + WAIT_MS).length;
}

describe("a wait that the server asks for", () => {
  const ids = Array.from({ length: 20 }, (_, n) => `room-${n}`);

  it("is kept by joins, of whatever room", async () => {
    const client = await fake.world.connected({ joinConcurrency: 2 });
    const end = limit("joinRoom");
    for (const id of ids) void client.room(id).join();
    await pass(100);
    for (const id of ids) void client.room(`other-${id}`).join();
    await pass(WAIT_MS);
    expect(tooEarly(limited)).toBe(0);
    end();
    await pass(20_000);
    expect(ids.map((id) => client.room(id).status)).toEqual(ids.map(() => "joined"));
  });

  it("is kept by leaves, of whatever room", async () => {
    const client = await fake.world.connected();
    await during(Promise.all(ids.map((id) => client.room(id).join())));
    const end = limit("leaveRoom");
    void client.room("room-0").leave();
    await pass(20);
    const leaving = ids.slice(1).map((id) => client.room(id).leave());
    await pass(WAIT_MS);
    expect(tooEarly(limited)).toBe(0);
    end();
    await during(Promise.all(leaving));
    expect(ids.flatMap((id) => fake.world.server.members(id))).toEqual([]);
  });

  it("is kept by beats and by questions about gaps", async () => {
    const { client, room } = await fake.world.joined();
    await during(client.room("other").join());
    for (const id of ["lobby", "other"]) fake.world.server.publish(id, [{ data: 0 }]);
    await pass(5_000);
    limit("sync");
    for (const id of ["lobby", "other"]) {
      fake.world.server.log(id).append([{ id: `lost-${id}`, from: "x", data: "lost" }]);
      fake.world.server.publish(id, [{ data: "later" }]);
      await pass(500);
    }
    await pass(WAIT_MS);
    expect(tooEarly(limited)).toBe(0);
    expect(room.status).toBe("recovering");
  });

  it("is kept by beats also when a hand-over comes between", async () => {
    const { server, network } = fake.world;
    // The beat goes out a moment before the new connection takes over, and its answer comes a moment after.
    server.syncAfterMs = () => 55_990;
    await fake.world.joined({ handoverAfterMs: 60_000 });
    await pass(50_000);
    const [old] = network.sockets;
    limit("sync");
    await pass(20_000);
    expect(network.sockets).toHaveLength(2);
    const beats = (socket = old) => socket?.sent.filter((text) => text.includes('"sync"')).length;
    expect([beats(), beats(network.last)]).toEqual([2, 2]);
    expect(limited[0]?.at).toBe(network.last.openedAt + 15);
    expect(tooEarly(limited)).toBe(0);
  });

  it("is kept by history, of whatever room", async () => {
    const { client, room } = await fake.world.joined();
    const end = limit("getHistory");
    const pages = [room.history()];
    await pass(20);
    pages.push(room.history(), client.room("other").history());
    await pass(WAIT_MS - 100);
    expect(limited).toHaveLength(1);
    end();
    await during(Promise.all(pages));
  });

  describe("for a message", () => {
    it("is kept by all of its room, ordered or not, and through a lost connection", async () => {
      const { client, room } = await fake.world.joined();
      const end = limit("sendMessage");
      const sends = [room.send(1), room.send(2)];
      await pass(20);
      sends.push(room.send(3), room.send(4, { unordered: true }), client.room("lobby").send(5, { unordered: true }));
      await pass(1_000);
      fake.world.network.last.cut();
      await pass(WAIT_MS - 1_100);
      expect(limited).toHaveLength(1);
      end();
      await during(Promise.all(sends));
      expect(fake.world.server.log("lobby").all).toHaveLength(5);
    });

    it("is kept by the one after a message that has given up", async () => {
      const { room } = await fake.world.joined();
      const end = limit("sendMessage");
      const first = room.send(1, { timeoutMs: 1_000 }).catch(() => "late");
      const second = room.send(2);
      await pass(WAIT_MS);
      expect(await first).toBe("late");
      expect(limited).toHaveLength(1);
      end();
      await during(second);
    });

    it("does not hold up other rooms", async () => {
      const { client, room } = await fake.world.joined();
      const end = limit("sendMessage", ({ roomId }) => roomId === "lobby");
      const slow = room.send(1);
      await pass(20);
      const before = Date.now();
      await during(client.room("other").send(2));
      expect(Date.now() - before).toBeLessThan(100);
      end();
      await during(slow);
    });
  });
});
