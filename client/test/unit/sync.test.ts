import { beforeEach, describe, expect, it } from "vitest";
import { collect, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime(0);

describe("the beat", () => {
  beforeEach(() => {
    fake.world.server.syncAfterMs = () => 30_000;
  });

  it("keeps a connection without rooms from idling out", async () => {
    await fake.world.connected();
    await pass(28 * 60_000);
    expect(fake.world.server.received("sync").map((frame) => frame["rooms"])).toEqual([{}, {}, {}]);
  });

  it("takes a missed reply for a dead connection", async () => {
    const { client, room } = await fake.world.joined({ syncTimeoutMs: 4_000 });
    const seen = collect(room);
    await pass(2_000);
    fake.world.network.last.freeze();
    fake.world.server.publish("lobby", [{ data: "missed" }]);
    await pass(28_900);
    expect(client.state).toBe("open");
    await pass(4_400);
    expect(fake.world.network.sockets).toHaveLength(2);
    await pass(100);
    expect(client.state).toBe("open");
    expect(seen).toMatchObject([{ data: "missed", recovered: true }]);
  });

  it("is not stopped by an error, which is an answer", async () => {
    const { client } = await fake.world.joined();
    await pass(2_000);
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    let failures = 2;
    fake.world.server.script = (frame) =>
      frame.action === "sync" && failures-- > 0 ? { code: "unavailable" } : undefined;
    await pass(35_000);
    expect(errors).toEqual(["unavailable", "unavailable"]);
    expect(client.state).toBe("open");
    expect(fake.world.network.sockets).toHaveLength(1);
    expect(fake.world.server.received("sync")).toHaveLength(4);
  });

  it.each(["__proto__", "constructor", "hasOwnProperty"])(
    "finds a lost message, also of a room called %s that the first answer leaves out",
    async (roomId) => {
      const { room } = await fake.world.joined({}, roomId);
      const seen = collect(room);
      await pass(2_000);
      fake.world.network.weather = { ...fake.world.network.weather, losesBroadcast: () => true };
      fake.world.server.publish(roomId, [{ data: 1 }]);
      fake.world.server.unsynced.add(roomId);
      await pass(30_000);
      fake.world.server.unsynced.delete(roomId);
      expect(seen).toEqual([]);
      await pass(30_000);
      expect(seen).toMatchObject([{ data: 1, recovered: true }]);
    },
  );

  it("asks for at most 50 rooms in one frame, one frame after another", async () => {
    const client = await fake.world.connected();
    const joins = Array.from({ length: 120 }, (_, n) => client.room(`room-${n}`).join());
    await during(Promise.all(joins));
    await pass(5_000);
    const before = fake.world.server.received("sync").length;
    await pass(30_000);
    const frames = fake.world.server.received("sync").slice(before);
    expect(frames.map((frame) => Object.keys(frame["rooms"] as object).length)).toEqual([50, 50, 20]);
  });
});

describe("joins", () => {
  it("go out a few at a time, also after a lost connection", async () => {
    const client = await fake.world.connected({ joinConcurrency: 4 });
    let waiting = 0;
    let most = 0;
    fake.world.server.script = (frame) => {
      if (frame.action === "joinRoom") most = Math.max(most, ++waiting);
      return undefined;
    };
    const joins = Array.from({ length: 30 }, (_, n) =>
      client
        .room(`room-${n}`)
        .join()
        .then(() => waiting--),
    );
    await during(Promise.all(joins));
    expect(most).toBeLessThanOrEqual(4);
    fake.world.network.last.cut();
    const before = fake.world.server.received("joinRoom").length;
    waiting = most = 0;
    for (let n = 0; n < 30; n++) client.room(`room-${n}`).on("joined", () => waiting--);
    await pass(5_000);
    expect(fake.world.server.received("joinRoom").length - before).toBe(30);
    expect(most).toBeLessThanOrEqual(4);
    expect(client.state).toBe("open");
  });

  it("are followed by a look at the log: a frame sent before the index showed the member reached nobody", async () => {
    fake.world.server.indexLag = () => 300;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: "too early" }]);
    await pass(1_100);
    expect(seen).toMatchObject([{ data: "too early" }]);
  });
});
