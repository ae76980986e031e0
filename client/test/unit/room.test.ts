import { describe, expect, it } from "vitest";
import { violations } from "../support/history-checker.js";
import { collect, dataOf, during, events, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

describe("join", () => {
  it("starts after the head of the log", async () => {
    const [old] = fake.world.server.publish("lobby", [{ data: "old" }]);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const seen = collect(room);
    expect(await during(room.join())).toEqual({ seq: old?.seq });
    expect(room.status).toBe("joined");
    expect(room.seq).toBe(old?.seq);
    fake.world.server.publish("lobby", [{ data: "new" }]);
    await pass(50);
    expect(seen).toMatchObject([{ data: "new", from: "producer", roomId: "lobby", recovered: false }]);
  });

  it("delivers what came after `after`, over as many pages as it takes", async () => {
    fake.world.server.pageSize = 3;
    const [first] = fake.world.append("lobby", ..."0123456789");
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const seen = collect(room);
    const order = events(room);
    await during(room.join({ after: first?.seq ?? 0 }));
    await pass(500);
    expect(dataOf(seen)).toEqual([..."123456789"]);
    expect(order).toEqual(["joining", "joined", "recovering", "joined", "recovered 9!"]);
  });

  it("delivers all that is retained with `after: 0`", async () => {
    fake.world.append("lobby", "a", "b");
    const client = await fake.world.connected();
    const seen = collect(client.room("lobby"));
    await during(client.room("lobby").join({ after: 0 }));
    await pass(50);
    expect(dataOf(seen)).toEqual(["a", "b"]);
  });

  it("keeps a broadcast that overtakes the joined reply", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const seen = collect(room);
    const latencies = [5, 50, 1];
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => latencies.shift() ?? 5 };
    const joining = room.join();
    await pass(6);
    fake.world.server.publish("lobby", [{ data: "overtakes" }]);
    await during(joining);
    await pass(200);
    expect(dataOf(seen)).toEqual(["overtakes"]);
  });

  it("is one join, however often it is called", async () => {
    const { room } = await fake.world.joined();
    await Promise.all([room.join(), room.join()]);
    expect(fake.world.server.received("joinRoom")).toHaveLength(1);
    expect(await failure(room.join({ after: 5 }))).toMatchObject({ code: "bad_request" });
  });

  it("rejects when the server refuses, and ends the iterators", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? { code: "forbidden" } : undefined);
    const room = client.room("user:bob");
    const errors: unknown[] = [];
    room.on("error", (error) => errors.push(error));
    const next = failure(room[Symbol.asyncIterator]().next());
    expect(await failure(room.join())).toMatchObject({ code: "forbidden", retryable: false, roomId: "user:bob" });
    expect(await next).toMatchObject({ code: "forbidden" });
    expect(errors).toHaveLength(1);
    expect(room.status).toBe("left");
    expect(client.state).toBe("open");
  });

  it("retries errors that pass, and tells the client", async () => {
    const client = await fake.world.connected();
    let failures = 2;
    fake.world.server.script = (frame) =>
      frame.action === "joinRoom" && failures-- > 0 ? { code: "rate_limited" } : undefined;
    const errors: unknown[] = [];
    client.on("error", ({ code, roomId }) => errors.push([code, roomId]));
    await during(client.room("lobby").join());
    expect(errors).toEqual([
      ["rate_limited", "lobby"],
      ["rate_limited", "lobby"],
    ]);
  });

  it("needs a client that is connecting", async () => {
    const client = fake.world.client();
    expect(await failure(client.room("lobby").join())).toMatchObject({ code: "closed", retryable: false });
    void client.connect();
    await during(client.room("lobby").join());
  });

  it.each(["", "a b", "ä", "x".repeat(101), "a/b"])("does not take %j for a room id", (id) => {
    expect(() => fake.world.client().room(id)).toThrowError(expect.objectContaining({ code: "bad_request" }));
  });
});

describe("leave", () => {
  it("ends the iterators and the membership", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const iterator = room[Symbol.asyncIterator]();
    const next = iterator.next();
    await during(room.leave());
    expect(await next).toEqual({ done: true, value: undefined });
    expect(fake.world.server.members("lobby")).toHaveLength(0);
    fake.world.server.publish("lobby", [{ data: "unseen" }]);
    await pass(60_000);
    expect(seen).toEqual([]);
    expect(room.status).toBe("left");
    await room.leave();
  });

  it("and a join after it take effect in this order, whatever overtakes what", async () => {
    const { room } = await fake.world.joined();
    const latencies = [100, 5, 5, 5];
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => latencies.shift() ?? 5 };
    const leaving = room.leave();
    const joining = room.join();
    await during(Promise.all([leaving, joining]));
    expect(fake.world.server.members("lobby")).toHaveLength(1);
  });

  it("ends a join under way", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const joining = room.join();
    const leaving = room.leave();
    expect(await failure(joining)).toMatchObject({ code: "left" });
    await during(leaving);
    expect(fake.world.server.members("lobby")).toHaveLength(0);
  });

  it("is done when the connection is lost", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = (frame) => (frame.action === "leaveRoom" ? "silence" : undefined);
    const leaving = room.leave();
    await pass(100);
    fake.world.network.last.cut();
    await during(leaving);
    await pass(5_000);
    expect(fake.world.server.members("lobby")).toHaveLength(0);
  });

  it("allows to join again where it ended", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(50);
    await during(room.leave());
    fake.world.server.publish("lobby", [{ data: 2 }]);
    await during(room.join({ after: room.seq ?? 0 }));
    await pass(50);
    expect(dataOf(seen)).toEqual([1, 2]);
  });
});

describe("a lost connection", () => {
  it("costs no message: the room is rejoined with `after`", async () => {
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const order = events(room);
    const joined: unknown[] = [];
    room.on("joined", (event) => joined.push(event.rejoined));
    const start = room.seq ?? 0;
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(50);
    const after = room.seq;
    fake.world.network.last.cut();
    fake.world.server.publish("lobby", [{ data: 2 }, { data: 3 }]);
    await pass(5_000);
    fake.world.server.publish("lobby", [{ data: 4 }]);
    await pass(50);
    expect(dataOf(seen)).toEqual([1, 2, 3, 4]);
    expect(order).toEqual(["recovering", "joined", "recovered 2!"]);
    expect(joined).toEqual([true]);
    expect(fake.world.server.received("joinRoom").at(-1)).toMatchObject({ after });
    expect(violations({ who: "alice", start, seen, truncated: [] }, fake.world.server.log("lobby"))).toEqual([]);
  });

  it("before the join was confirmed does not lose the join", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? "silence" : undefined);
    const joining = client.room("lobby").join();
    await pass(100);
    fake.world.server.script = () => undefined;
    fake.world.network.last.cut();
    await during(joining);
    expect(client.room("lobby").status).toBe("joined");
  });

  it("is told as `recovered` even if nothing was missed", async () => {
    const { room } = await fake.world.joined();
    const order = events(room);
    fake.world.network.last.cut();
    await pass(5_000);
    expect(order).toEqual(["recovering", "joined", "recovered 0!"]);
  });

  it("ends only the room that the server no longer allows", async () => {
    const { client, room } = await fake.world.joined();
    await during(client.room("other").join());
    fake.world.server.script = (frame) =>
      frame.action === "joinRoom" && frame.roomId === "lobby" ? { code: "forbidden" } : undefined;
    const left: unknown[] = [];
    room.on("left", ({ error }) => left.push(error?.code));
    fake.world.network.last.cut();
    await pass(5_000);
    expect(left).toEqual(["forbidden"]);
    expect(client.room("other").status).toBe("joined");
    expect(client.state).toBe("open");
  });
});

describe("history", () => {
  it("pages backwards", async () => {
    fake.world.append("lobby", ..."abcde");
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const newest = await during(room.history({ limit: 2 }));
    expect([dataOf(newest.messages), newest.more]).toEqual([["d", "e"], true]);
    const older = await during(room.history({ before: newest.messages[0]?.seq ?? 0, limit: 10 }));
    expect([dataOf(older.messages), older.more]).toEqual([["a", "b", "c"], false]);
  });

  it.each([{ limit: 0 }, { limit: 101 }, { limit: 1.5 }, { before: -1 }, { before: 0 }])(
    "does not take %j",
    async (options) => {
      const client = await fake.world.connected();
      expect(await failure(client.room("lobby").history(options))).toMatchObject({ code: "bad_request" });
    },
  );

  it("retries over a lost connection", async () => {
    fake.world.append("lobby", "a");
    const client = await fake.world.connected();
    fake.world.server.script = () => "silence";
    const reading = client.room("lobby").history();
    await pass(100);
    fake.world.server.script = () => undefined;
    fake.world.network.last.cut();
    expect(dataOf((await during(reading)).messages)).toEqual(["a"]);
  });
});

describe("the past and what follows", () => {
  /** `getHistory` is an eventually consistent read: for a second it does not show what `joinRoom` does. */
  function lag(hidden: number): void {
    const { server, network } = fake.world;
    const until = Date.now() + 1_000;
    server.script = (frame) => {
      if (frame.action !== "getHistory" || Date.now() > until) return undefined;
      const before = Math.min((frame["before"] as number | undefined) ?? Infinity, hidden);
      const page = server.log("lobby").history(before, 50);
      network.last.inject(JSON.stringify({ type: "history", requestId: frame.requestId, roomId: "lobby", ...page }));
      return "silence";
    };
  }

  it("have no hole between them, as the README says: history, then join({ after })", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    const room = (await fake.world.connected()).room("lobby");
    const [newest] = server.publish("lobby", [{ data: 3 }]);
    lag(newest?.seq ?? 0);
    const { messages } = await during(room.history());
    const seen = [...messages];
    await during(room.join({ after: messages.at(-1)?.seq ?? 0 }));
    room.on("message", (message) => seen.push(message));
    server.publish("lobby", [{ data: 4 }]);
    await pass(100);
    expect(dataOf(seen)).toEqual([1, 2, 3, 4]);
  });

  it("do not overlap, as the page says that tells how to come from centrifuge-js", async () => {
    const { server } = fake.world;
    const [, second] = server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    const room = (await fake.world.connected()).room("lobby");
    const seq = second?.seq ?? 0;
    const seen = [...(await during(room.history({ before: seq + 1, limit: 50 }))).messages];
    room.on("message", (message) => seen.push(message));
    await during(room.join({ after: seq }));
    expect(dataOf(seen)).toEqual([1, 2, 3]);
  });
});
