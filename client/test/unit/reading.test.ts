import { describe, expect, it, vi } from "vitest";
import type { Room } from "../../src/index.js";
import { Syncer } from "../../src/syncer.js";
import { collect, dataOf, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

describe("a message listener", () => {
  it("that leaves the room gets nothing more of the frame", async () => {
    const { room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("message", ({ data }) => {
      seen.push(data);
      if (data === 1) void room.leave();
    });
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    await pass(1_000);
    expect(seen).toEqual([1]);
  });

  it("that closes the client gets nothing more of the frame", async () => {
    const { client, room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("message", ({ data }) => {
      seen.push(data);
      client.close();
    });
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    await pass(1_000);
    expect(seen).toEqual([1]);
  });

  it("that leaves and joins again with `after` gets every message once", async () => {
    const { room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("message", ({ seq, data }) => {
      seen.push(data);
      if (data !== 1) return;
      void room.leave();
      void room.join({ after: seq });
    });
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }, { data: 3 }]);
    await pass(2_000);
    expect(seen).toEqual([1, 2, 3]);
  });
});

describe("leaving", () => {
  it("ends an iterator at once: what was queued is not read any more", async () => {
    const { room } = await fake.world.joined();
    const iterator = room[Symbol.asyncIterator]();
    fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    await pass(50);
    expect(await iterator.next()).toMatchObject({ value: { data: 1 } });
    await during(room.leave());
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });
});

describe("a room in which somebody does not read", () => {
  it("says so, and says when that has passed", async () => {
    const { room } = await fake.world.joined({ bufferSize: 10 });
    const seen = collect(room);
    const told: unknown[] = [];
    room.on("stalled", (event) => told.push(event));
    fake.world.server.publish("lobby", [{ data: "first" }]);
    await pass(50);
    const forgotten = room[Symbol.asyncIterator]();
    for (let n = 0; n < 30; n++) fake.world.server.publish("lobby", [{ data: n }]);
    await pass(5_000);
    expect(room.stalled).toBe(true);
    expect(told).toEqual([{ stalled: true, waiting: 10 }]);
    expect(seen).toHaveLength(11);
    await forgotten.return();
    await pass(5_000);
    expect(room.stalled).toBe(false);
    expect(told).toEqual([
      { stalled: true, waiting: 10 },
      { stalled: false, waiting: 0 },
    ]);
    expect(seen).toHaveLength(31);
  });

  it("is told a hole behind what it knew of, when it reads on before an answer comes", async () => {
    const { network, server } = fake.world;
    fake.world.append("lobby", "old");
    const { room } = await fake.world.joined({ bufferSize: 4 });
    const start = room.seq ?? 0;
    const holes: unknown[] = [];
    room.on("truncated", (hole) => holes.push(hole));
    const iterator = room[Symbol.asyncIterator]();
    for (let n = 1; n <= 9; n++) server.publish("lobby", [{ data: n }]);
    await pass(100);
    network.last.cut();
    fake.world.append("lobby", 10, 11, 12, 13, 14);
    for (const gone of [10, 11]) server.log("lobby").drop(start + gone);
    const read: unknown[] = [];
    const reads = async (count: number) => {
      for (let n = 0; n < count; n++) read.push((await iterator.next()).value?.data);
    };
    server.script = ({ action, after }) => {
      if (action !== "joinRoom") return undefined;
      expect([after, room.stalled]).toEqual([start + 9, true]);
      void reads(3);
      return undefined;
    };
    await pass(5_000);
    await during(reads(9));
    expect(read).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14]);
    expect(holes).toEqual([{ after: start + 9, seq: start + 12, certain: true }]);
  });

  it("makes no work for broadcasts that are not read", async () => {
    const { room } = await fake.world.joined({ bufferSize: 2 });
    for (let n = 0; n < 5; n++) fake.world.server.publish("lobby", [{ data: n }]);
    await pass(5_000);
    expect(room.stalled).toBe(true);
    const plans = vi.spyOn(Syncer.prototype, "replan");
    for (let n = 0; n < 10; n++) {
      fake.world.server.publish("lobby", [{ data: n }]);
      await pass(100);
    }
    expect(plans).not.toHaveBeenCalled();
  });

  it("is not stalled any more when it is left", async () => {
    const { room } = await fake.world.joined({ bufferSize: 2 });
    const told: boolean[] = [];
    room.on("stalled", ({ stalled }) => told.push(stalled));
    for (let n = 0; n < 5; n++) fake.world.server.publish("lobby", [{ data: n }]);
    await pass(500);
    await during(room.leave());
    expect(told).toEqual([true, false]);
    expect(room.stalled).toBe(false);
  });
});

describe("parse", () => {
  const parse = (value: unknown): { text: string } => {
    if (typeof (value as { text?: unknown } | null)?.text === "string") return value as { text: string };
    throw new TypeError("no text");
  };

  async function parsed(): Promise<Room<{ text: string }>> {
    const client = await fake.world.connected();
    const room = client.room("lobby", { parse });
    await during(room.join());
    return room;
  }

  it("types what comes in; what fails is reported and skipped, and delivery goes on", async () => {
    const room = await parsed();
    const seen: string[] = [];
    const errors: unknown[] = [];
    room.on("message", ({ data }) => seen.push(data.text));
    room.on("error", ({ code, roomId, retryable }) => errors.push([code, roomId, retryable]));
    fake.world.server.publish("lobby", [{ data: { text: "a" } }, { data: 7 }, { data: { text: "b" } }]);
    await pass(500);
    expect(seen).toEqual(["a", "b"]);
    expect(errors).toEqual([["bad_data", "lobby", false]]);
    expect(room.status).toBe("joined");
    expect(room.seq).toBe(fake.world.server.log("lobby").head);
  });

  it("is applied to history", async () => {
    const room = await parsed();
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    fake.world.server.publish("lobby", [{ data: { text: "a" } }, { data: 7 }]);
    const { messages } = await during(room.history());
    expect(dataOf(messages)).toEqual([{ text: "a" }]);
    expect(errors).toContain("bad_data");
  });

  it("leaves the way open to the messages before a page of which none passes", async () => {
    fake.world.server.publish("lobby", [{ data: { text: "a" } }, ...Array.from({ length: 60 }, () => ({ data: 7 }))]);
    const room = await parsed();
    const seen: unknown[] = [];
    let page = await during(room.history());
    while (page.more && page.before !== undefined) {
      page = await during(room.history({ before: page.before }));
      seen.unshift(...dataOf(page.messages));
    }
    expect(seen).toEqual([{ text: "a" }]);
  });

  it("that fails makes nobody miss a message: who leaves because of it joins where it stopped", async () => {
    const room = await parsed();
    const told: unknown[] = [];
    room.on("message", (message) => told.push(message.data.text));
    room.on("left", () => told.push("left"));
    room.once("error", () => void room.leave());
    fake.world.server.publish("lobby", [{ data: { text: "a" } }, { data: 7 }, { data: { text: "b" } }]);
    await pass(100);
    expect(told).toEqual(["a", "b", "left"]);
    fake.world.server.publish("lobby", [{ data: { text: "c" } }]);
    await during(room.join({ after: room.seq ?? 0 }));
    await pass(100);
    expect(told).toEqual(["a", "b", "left", "c"]);
  });

  it("may be given later; the last one counts", async () => {
    const { client, room } = await fake.world.joined();
    client.room("lobby", { parse: (value) => `parsed ${String(value)}` });
    expect(client.room("lobby")).toBe(room);
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(50);
    expect(dataOf(seen)).toEqual(["parsed 1"]);
  });
});

describe("send", () => {
  it("says with which id a message failed, so that sending it again is safe", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = (frame) => (frame.action === "sendMessage" ? { code: "forbidden" } : undefined);
    const error = await failure(room.send("x"));
    expect(error).toMatchObject({ code: "forbidden", roomId: "lobby" });
    expect(error).toMatchObject({ messageId: fake.world.server.received("sendMessage")[0]?.["id"] });
  });
});

/** A log of ten messages of which retention has left the last three. */
async function expired() {
  const { server } = fake.world;
  const [first] = server.publish(
    "lobby",
    Array.from({ length: 10 }, (_, data) => ({ data })),
  );
  server.log("lobby").expire(3);
  const client = await fake.world.connected();
  return { room: client.room("lobby"), first: first?.seq ?? 0 };
}

describe("a listener of `truncated` that leaves the room", () => {
  it("is told nothing more", async () => {
    const { room, first } = await expired();
    const told: unknown[] = [];
    room.on("message", ({ data }) => told.push(data));
    room.on("left", () => told.push("left"));
    room.on("truncated", () => void room.leave());
    void room.join({ after: first });
    await pass(2_000);
    expect(told).toEqual(["left"]);
  });

  it("and joins it from the beginning gets each message once, in order", async () => {
    const { room, first } = await expired();
    const seen = collect(room);
    room.once("truncated", () => {
      void room.leave();
      void room.join({ after: 0 });
    });
    void room.join({ after: first });
    await pass(5_000);
    expect(seen.map(({ data }) => data)).toEqual([7, 8, 9]);
  });

  it("after a room was given up is told nothing more either", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined();
    const told: unknown[] = [];
    room.on("message", ({ data }) => told.push(data));
    room.on("left", () => told.push("left"));
    room.on("truncated", () => void room.leave());
    server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    server.log("lobby").append([{ id: "lost", from: "x", data: 2 }]);
    server.publish("lobby", [{ data: 3 }]);
    server.log("lobby").expire();
    await pass(60_000);
    expect(told).toEqual([1, "left"]);
  });
});

describe("a listener of `status` that leaves a room when it begins to recover", () => {
  it("is told nothing more", async () => {
    const { server } = fake.world;
    const [first] = server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const told: unknown[] = [];
    room.on("message", ({ data }) => told.push(data));
    room.on("status", ({ status }) => {
      if (status === "recovering") void room.leave();
    });
    room.on("left", () => told.push("left"));
    void room.join({ after: first?.seq ?? 0 });
    await during(pass(2_000));
    expect(told).toEqual(["left"]);
  });
});
