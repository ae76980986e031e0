import { describe, expect, it } from "vitest";
import type { Room, Truncation } from "../../src/index.js";
import { collect, dataOf, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

function holes(room: Room): Truncation[] {
  const seen: Truncation[] = [];
  room.on("truncated", (hole) => seen.push(hole));
  return seen;
}

describe("a position beyond the head of the log", () => {
  it("is told, and the room goes on from the head", async () => {
    const [old] = fake.world.append("lobby", "old");
    const head = old?.seq ?? 0;
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const seen = collect(room);
    const told = holes(room);
    await during(room.join({ after: head + 1_000_000 }));
    await pass(2_000);
    fake.world.server.publish("lobby", [{ data: "new" }]);
    await pass(500);
    expect(dataOf(seen)).toEqual(["new"]);
    expect(told).toEqual([{ after: head + 1_000_000, seq: head, certain: false }]);
    expect(room.seq).toBe(head + 1);
  });

  it("is noticed by a beat too, when the log was replaced under the client", async () => {
    fake.world.append("lobby", "a", "b", "c");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(2_000);
    const log = fake.world.server.log("lobby");
    log.retained.splice(-2);
    log.all.splice(-2);
    await pass(600_000);
    fake.world.server.publish("lobby", [{ data: "after the restore" }]);
    await pass(500);
    expect(told).toHaveLength(1);
    expect(dataOf(seen)).toEqual(["after the restore"]);
  });

  it("of a reply that broadcasts have overtaken is no reason to go back", async () => {
    fake.world.append("lobby", "a");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(2_000);
    const head = room.seq ?? 0;
    fake.world.server.script = (frame) => {
      if (frame.action !== "sync") return undefined;
      const page = { seq: head - 1, messages: [], more: false, truncated: true };
      fake.world.network.last.inject(
        JSON.stringify({ type: "synced", requestId: frame.requestId, rooms: { lobby: page } }),
      );
      fake.world.network.last.inject(
        JSON.stringify({ type: "messages", roomId: "lobby", messages: fake.world.append("lobby", "b") }),
      );
      fake.world.server.script = () => undefined;
      return "silence";
    };
    await pass(560_000);
    expect(dataOf(seen).filter((value) => value === "b")).toEqual(["b"]);
    expect(told.length).toBeLessThanOrEqual(1);
  });
});

describe("room.seq", () => {
  it("is that of the last message handed over, while a listener runs and after leaving from it", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seqs: [number, number | undefined][] = [];
    room.on("message", ({ seq, data }) => {
      seqs.push([seq, room.seq]);
      if (data === 2) void room.leave();
    });
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    await pass(500);
    expect(seqs.map(([, at]) => at)).toEqual(seqs.map(([seq]) => seq));
    expect(seqs).toHaveLength(2);
    expect(room.seq).toBe(seqs[1]?.[0]);
    // The documentation says: to resume, pass `room.seq` as `after`.
    const seen = collect(room);
    await during(room.join({ after: room.seq ?? 0 }));
    await pass(500);
    expect(dataOf(seen)).toEqual([3]);
  });

  it("does not count what waits in an iterator or for one", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const start = room.seq ?? 0;
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    await pass(50);
    expect(room.seq).toBe(start);
    const iterator = room[Symbol.asyncIterator]();
    await iterator.next();
    expect(room.seq).toBe(start + 1);
    await during(room.leave());
    expect(room.seq).toBe(start + 1);
    const seen = collect(room);
    await during(room.join({ after: start + 1 }));
    await pass(500);
    expect(dataOf(seen)).toEqual([2, 3]);
  });
});

describe("a room that was empty when it was joined", () => {
  /** A client that is away while a message is sent, expires, and another one is sent. */
  async function away(ms: number): Promise<{ seen: unknown[]; told: Truncation[] }> {
    fake.world.server.retentionSeconds = 60;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(5_000);
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    fake.world.network.last.cut();
    fake.world.server.publish("lobby", [{ data: "missed" }]);
    await pass(ms);
    fake.world.server.log("lobby").expireBefore(Date.now() - 60_000);
    fake.world.server.publish("lobby", [{ data: "retained" }]);
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await pass(60_000);
    return { seen: dataOf(seen), told };
  }

  it("may have lost something when the client was away for longer than retention", async () => {
    const { seen, told } = await away(90_000);
    expect(seen).toEqual(["retained"]);
    expect(told).toMatchObject([{ after: 0, certain: false }]);
  });

  it("may have lost something when the client was closed for longer than retention", async () => {
    fake.world.server.retentionSeconds = 60;
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(5_000);
    client.close();
    fake.world.server.publish("lobby", [{ data: "missed" }]);
    await pass(90_000);
    fake.world.server.log("lobby").expireBefore(Date.now() - 60_000);
    fake.world.server.publish("lobby", [{ data: "retained" }]);
    await during(client.connect());
    await pass(2_000);
    expect(dataOf(seen)).toEqual(["retained"]);
    expect(told).toMatchObject([{ after: 0, certain: false }]);
  });

  it("has lost nothing when it was away for less", async () => {
    const { seen, told } = await away(10_000);
    expect(seen).toEqual(["missed", "retained"]);
    expect(told).toEqual([]);
  });

  it("has lost something for certain when its log has none of what was sent", async () => {
    fake.world.server.retentionSeconds = 60;
    const { room } = await fake.world.joined();
    const told = holes(room);
    await pass(5_000);
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    fake.world.network.last.cut();
    fake.world.append("lobby", "missed");
    await pass(90_000);
    fake.world.server.log("lobby").expire();
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await pass(60_000);
    expect(told).toEqual([{ after: 0, seq: 0, certain: true }]);
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: "new" }]);
    await pass(500);
    expect(dataOf(seen)).toEqual(["new"]);
    expect(told).toHaveLength(1);
  });

  it("is not doubted as long as beats find it empty, however short retention is", async () => {
    fake.world.server.retentionSeconds = 60;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(1_200_000);
    fake.world.server.publish("lobby", [{ data: "first" }]);
    await pass(500);
    expect(dataOf(seen)).toEqual(["first"]);
    expect(told).toEqual([]);
  });
});

describe("a log that has expired", () => {
  it("has lost nothing for a client that had everything", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(50);
    fake.world.server.log("lobby").expire();
    await pass(1_200_000);
    fake.world.server.publish("lobby", [{ data: 2 }]);
    await pass(500);
    expect(dataOf(seen)).toEqual([1, 2]);
    expect(told).toEqual([]);
  });

  it("has lost what the client did not have, which is told once, for certain", async () => {
    const [first] = fake.world.append("lobby", 1, 2);
    fake.world.server.log("lobby").expire();
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const told = holes(room);
    await during(room.join({ after: first?.seq ?? 0 }));
    await pass(60_000);
    expect(told).toEqual([{ after: first?.seq, seq: 0, certain: true }]);
    expect(room.seq).toBe((first?.seq ?? 0) + 1);
    expect(room.status).toBe("joined");
  });

  it("has holes before and behind what broadcasts have brought, and each is told", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const told = holes(room);
    await pass(2_000);
    fake.world.server.script = (frame) => (frame.action === "sync" ? "silence" : undefined);
    const [, held, , , last] = fake.world.append("lobby", 1, 2, 3, 4, 5);
    fake.world.network.last.inject(JSON.stringify({ type: "messages", roomId: "lobby", messages: [held] }));
    await pass(5_000);
    fake.world.server.log("lobby").expire();
    fake.world.server.script = () => undefined;
    fake.world.network.last.cut();
    await pass(30_000);
    const first = (held?.seq ?? 0) - 1;
    expect(dataOf(seen)).toEqual([2]);
    expect(told).toEqual([
      { after: first - 1, seq: first + 1, certain: true },
      { after: first + 1, seq: 0, certain: true },
    ]);
    expect(room.seq).toBe(last?.seq);
    expect(room.status).toBe("joined");
  });

  it("has nothing for who asks for all that is retained, which is no loss", async () => {
    fake.world.append("lobby", 1, 2);
    fake.world.server.log("lobby").expire();
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const told = holes(room);
    await during(room.join({ after: 0 }));
    await pass(60_000);
    expect(told).toEqual([]);
    expect(room.status).toBe("joined");
  });
});
