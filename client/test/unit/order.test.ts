import { describe, expect, it } from "vitest";
import { collect, dataOf, during, events, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** A frame as fanout would send it, straight to the client. */
function inject(roomId: string, batch: readonly object[], bounds: object = {}): void {
  fake.world.network.last.inject(JSON.stringify({ type: "messages", roomId, messages: batch, ...bounds }));
}

describe("order", () => {
  it("is restored within the reorder window without asking the log", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    await pass(2_000);
    const syncs = fake.world.server.received("sync").length;
    const [a, b, c] = fake.world.append("lobby", "a", "b", "c");
    inject("lobby", [{ ...c }]);
    inject("lobby", [{ ...b }]);
    await pass(50);
    expect(seen).toEqual([]);
    inject("lobby", [{ ...a }]);
    inject("lobby", [{ ...b }]);
    await pass(500);
    expect(dataOf(seen)).toEqual(["a", "b", "c"]);
    expect(fake.world.server.received("sync")).toHaveLength(syncs);
  });

  it("is restored from the log when a frame does not come", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const order = events(room);
    await pass(2_000);
    const [, b] = fake.world.append("lobby", "a", "b");
    inject("lobby", [{ ...b }]);
    await pass(150);
    expect(seen.map(({ data, recovered }) => [data, recovered])).toEqual([
      ["a", true],
      ["b", false],
    ]);
    expect(order).toEqual(["recovering", "gap!", "joined", "recovered 1!"]);
  });

  it("does not see a gap in conflated frames", async () => {
    fake.world.append("prices", "old");
    const { room } = await fake.world.joined({}, "prices");
    const seen = collect(room);
    const order = events(room);
    await pass(2_000);
    const syncs = fake.world.server.received("sync").length;
    fake.world.server.publish("prices", [
      { data: 1, key: "A", version: 1 },
      { data: 2, key: "A", version: 3 },
      { data: 3, key: "A", version: 2 },
      { data: 4, key: "B", version: 1 },
    ]);
    fake.world.server.publish("prices", [{ data: 5 }]);
    await pass(500);
    expect(dataOf(seen)).toEqual([2, 4, 5]);
    expect(order).toEqual([]);
    expect(fake.world.server.received("sync")).toHaveLength(syncs);
    expect(seen[0]).toMatchObject({ key: "A", version: 3 });
  });

  it("begins with the first message of a room that was empty, even if its frame is lost", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    expect(room.seq).toBe(0);
    await pass(2_000);
    const [, second] = fake.world.append("lobby", "first", "second");
    inject("lobby", [{ ...second }]);
    // Not even a reorder window: one question to the log, there and back.
    await pass(20);
    expect(dataOf(seen)).toEqual(["first", "second"]);
    expect(fake.world.server.received("sync").at(-1)?.["rooms"]).toEqual({ lobby: 0 });
  });

  it("asks again when a read lags behind a broadcast", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    await pass(2_000);
    const log = fake.world.server.log("lobby");
    const [a, b] = fake.world.append("lobby", "a", "b");
    log.retained.splice(-2);
    inject("lobby", [{ ...b }]);
    await pass(300);
    expect(seen).toEqual([]);
    log.retained.push(a as never, b as never);
    await pass(3_000);
    expect(dataOf(seen)).toEqual(["a", "b"]);
  });

  it("goes on, and says so, when the log has lost what a frame announced", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const order = events(room);
    await pass(2_000);
    const [, b] = fake.world.append("lobby", "a", "b");
    fake.world.server.log("lobby").expire();
    inject("lobby", [{ ...b }]);
    await pass(20_000);
    expect(dataOf(seen)).toEqual(["b"]);
    expect(order).toContain("truncated!");
    const [c] = fake.world.append("lobby", "c");
    inject("lobby", [{ ...c }], { after: b?.seq ?? 0, seq: c?.seq });
    await pass(2_000);
    expect(dataOf(seen)).toEqual(["b", "c"]);
  });

  it("ignores frames of rooms that are not joined, and frames that make no sense", async () => {
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    inject("elsewhere", [{ seq: 5, id: "a", from: "b", sentAt: 1, data: 1 }]);
    inject("lobby", []);
    fake.world.network.last.inject("garbage");
    fake.world.network.last.inject(JSON.stringify({ type: "later version" }));
    await pass(100);
    expect(seen).toEqual([]);
    expect(errors).toEqual(["protocol", "protocol"]);
    expect(client.state).toBe("open");
  });
});

describe("retention", () => {
  it("is reported when it dropped what a join asks for", async () => {
    const [first] = fake.world.append("lobby", "a", "b", "c", "d");
    fake.world.server.log("lobby").expire(1);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const holes: unknown[] = [];
    room.on("truncated", (hole) => holes.push(hole));
    const seen = collect(room);
    const after = first?.seq ?? 0;
    await during(room.join({ after }));
    await pass(100);
    expect(dataOf(seen)).toEqual(["d"]);
    expect(holes).toEqual([{ after, seq: after + 3, certain: true }]);
  });

  it("is reported where it dropped a message from between others, each time before what follows", async () => {
    const [a, b, c, , e] = fake.world.append("lobby", "a", "b", "c", "d", "e", "f", "g").map(({ seq }) => seq);
    for (const seq of [c, e]) fake.world.server.log("lobby").drop(seq ?? 0);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const told: unknown[] = [];
    room.on("truncated", (hole) => told.push(hole));
    room.on("message", ({ data }) => told.push(data));
    await during(room.join({ after: a ?? 0 }));
    await pass(100);
    const hole = (after = 0) => ({ after, seq: after + 2, certain: true });
    expect(told).toEqual(["b", hole(b), "d", hole((b ?? 0) + 2), "f", "g"]);
  });

  it("is reported once where it dropped a message from between others, although two connections ask", async () => {
    const [a, b, c] = fake.world.append("lobby", "a", "b", "c", "d").map(({ seq }) => seq);
    fake.world.server.log("lobby").drop(c ?? 0);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const told = events(room);
    const seen = collect(room);
    await during(room.join({ after: a ?? 0 }));
    fake.world.network.last.cut();
    await pass(5_000);
    expect(dataOf(seen)).toEqual(["b", "d"]);
    expect([told.filter((event) => event === "truncated!").length, room.seq]).toEqual([1, (b ?? 0) + 2]);
  });

  it("is not reported when the log was started anew before it was empty: nothing was lost at the jump", async () => {
    fake.world.append("lobby", "seen");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const order = events(room);
    await pass(5_000);
    const log = fake.world.server.log("lobby");
    const before = log.head;
    log.startAnew();
    fake.world.server.publish("lobby", [{ data: "by broadcast" }]);
    await pass(500);
    expect(seen).toMatchObject([{ data: "by broadcast", recovered: false }]);
    expect(room.seq).toBeGreaterThan(before + 1);
    expect(order).toEqual(["recovering", "gap!", "joined", "recovered 0!"]);

    // The same without a broadcast: the beat finds it.
    log.startAnew();
    fake.world.append("lobby", "by sync", "and the next");
    await pass(31_000);
    // The same on a new connection.
    log.startAnew();
    fake.world.append("lobby", "by join");
    fake.world.network.last.cut();
    await pass(5_000);
    fake.world.server.publish("lobby", [{ data: "live" }]);
    await pass(50);
    expect(dataOf(seen)).toEqual(["by broadcast", "by sync", "and the next", "by join", "live"]);
    expect(order.filter((event) => event.endsWith("truncated!"))).toEqual([]);
  });

  it("is reported once, and as a possibility, when nothing is known of the log; then a silent room goes on as if new", async () => {
    fake.world.append("lobby", "a");
    fake.world.server.log("lobby").remembers = false;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const order = events(room);
    fake.world.server.log("lobby").expire();
    await pass(95_000);
    expect(order).toEqual(["perhaps truncated!"]);
    fake.world.server.publish("lobby", [{ data: "again" }]);
    await pass(50);
    fake.world.server.publish("lobby", [{ data: "and again" }]);
    await pass(50);
    expect(dataOf(seen)).toEqual(["again", "and again"]);
    expect(order).toEqual(["perhaps truncated!"]);
  });
});

describe("a page that brings nothing new", () => {
  it("and says that there is more is asked for again with growing pauses", async () => {
    const { room } = await fake.world.joined();
    collect(room);
    const [first] = fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    const seq = first?.seq ?? 0;
    fake.world.server.script = (frame) => {
      if (frame.action !== "sync") return undefined;
      const page = {
        seq: seq + 50,
        messages: [{ seq, id: "a", from: "x", sentAt: 1, data: 1 }],
        more: true,
        truncated: false,
      };
      const reply = {
        type: "synced",
        requestId: frame.requestId,
        rooms: { lobby: page },
        renewed: [],
        syncAfterMs: 30_000,
      };
      fake.world.network.last.inject(JSON.stringify(reply));
      return "silence";
    };
    inject("lobby", [{ seq: seq + 50, id: "b", from: "x", sentAt: 1, data: 2 }]);
    const before = fake.world.server.received("sync").length;
    await pass(60_000);
    expect(fake.world.server.received("sync").length - before).toBeLessThan(60);
  });
});

describe("a log whose head is remembered for half a second", () => {
  it("has not lost what it does not show yet", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined({ retry: { base: 10, cap: 50 } });
    const seen = collect(room);
    const truncated: unknown[] = [];
    room.on("truncated", (hole) => truncated.push(hole));
    server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    server.headLag = () => 1_000;
    server.log("lobby").append([{ id: "lost", from: "x", data: 2 }]);
    server.publish("lobby", [{ data: 3 }]);
    await pass(5_000);
    expect(truncated).toEqual([]);
    expect(seen.map(({ data }) => data)).toEqual([1, 2, 3]);
  });
});

describe("a broadcast with a number that is far too large", () => {
  it("does not make the room deaf to those that follow", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const [first] = server.publish("lobby", [{ data: 0 }]);
    await pass(5_000);
    const after = (first?.seq ?? 0) + 10;
    inject("lobby", [], { after, seq: Number.MAX_SAFE_INTEGER });
    for (let n = 1; n <= 120; n++) {
      server.publish("lobby", [{ data: n }]);
      await pass(1_000);
    }
    expect(seen.length).toBeGreaterThan(110);
  });
});
