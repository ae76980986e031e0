import { describe, expect, it, vi } from "vitest";
import { Delivery } from "../../src/delivery.js";
import { RoomcastError } from "../../src/index.js";
import { collect, during, inFakeTime, pass } from "../support/world.js";

function delivery(limit = 4) {
  const listeners: ((n: number) => void)[] = [];
  const drained = vi.fn();
  const stalled = vi.fn();
  const subject = new Delivery<number>(limit, {
    listening: () => listeners.length > 0,
    emit: (n) => {
      for (const listener of listeners) listener(n);
    },
    stalled,
    drained,
  });
  const listen = (listener: (n: number) => void) => {
    listeners.push(listener);
    subject.listenerAdded();
  };
  return { subject, listen, listeners, stalled, drained };
}

describe("Delivery", () => {
  it("gives every listener and iterator every message", async () => {
    const { subject, listen } = delivery();
    const heard: number[] = [];
    listen((n) => heard.push(n));
    const [a, b] = [subject.read(), subject.read()];
    subject.push([1, 2]);
    expect(heard).toEqual([1, 2]);
    for (const iterator of [a, b]) {
      expect(await iterator.next()).toEqual({ done: false, value: 1 });
      expect(await iterator.next()).toEqual({ done: false, value: 2 });
    }
  });

  it("keeps what comes before anybody listens, for all listeners added together", async () => {
    const { subject, listen } = delivery();
    subject.push([1, 2]);
    const heard: string[] = [];
    listen((n) => heard.push(`a${n}`));
    listen((n) => heard.push(`b${n}`));
    expect(heard).toEqual([]);
    subject.push([3]);
    await Promise.resolve();
    expect(heard).toEqual(["a1", "b1", "a2", "b2", "a3", "b3"]);
  });

  it("keeps what a listener for one message leaves over", async () => {
    const { subject, listen, listeners } = delivery();
    subject.push([1, 2]);
    const heard: number[] = [];
    listen((n) => {
      heard.push(n);
      listeners.length = 0;
    });
    await Promise.resolve();
    expect(heard).toEqual([1]);
    expect(await subject.read().next()).toEqual({ done: false, value: 2 });
  });

  it("keeps what a loop leaves over for the next loop", async () => {
    const { subject } = delivery();
    subject.push([1, 2, 3]);
    for await (const n of subject.read()) if (n === 2) break;
    subject.push([4]);
    const rest: number[] = [];
    for await (const n of subject.read()) {
      rest.push(n);
      if (n === 4) break;
    }
    expect(rest).toEqual([3, 4]);
  });

  it("is full at its limit and drained at half of it", async () => {
    const { subject, drained } = delivery();
    const iterator = subject.read();
    subject.push([1, 2, 3]);
    expect(subject.full).toBe(false);
    subject.push([4, 5, 6]);
    expect(subject.full).toBe(true);
    for (let n = 0; n < 3; n++) await iterator.next();
    expect(subject.full).toBe(true);
    expect(drained).not.toHaveBeenCalled();
    await iterator.next();
    expect(subject.full).toBe(false);
    expect(drained).toHaveBeenCalledOnce();
  });

  it("is drained when the slow reader goes away", async () => {
    const { subject, listen, drained } = delivery();
    listen(() => {});
    const iterator = subject.read();
    subject.push([1, 2, 3, 4]);
    expect(subject.full).toBe(true);
    await iterator.return?.();
    expect(drained).toHaveBeenCalledOnce();
  });

  it("ends an iterator at once, whatever is queued", async () => {
    const { subject } = delivery();
    const iterator = subject.read();
    subject.push([1]);
    subject.end(undefined);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it("throws an error once, to one who waits or to the next", async () => {
    const error = new RoomcastError("forbidden", "no");
    const { subject } = delivery();
    const [waiting, reading] = [subject.read(), subject.read()];
    const first = waiting.next();
    const second = waiting.next();
    subject.end(error);
    await expect(first).rejects.toBe(error);
    expect(await second).toEqual({ done: true, value: undefined });
    await expect(reading.next()).rejects.toBe(error);
    expect(await reading.next()).toEqual({ done: true, value: undefined });
  });

  it("answers calls of next() in their order", async () => {
    const { subject } = delivery();
    const iterator = subject.read();
    const both = Promise.all([iterator.next(), iterator.next()]);
    subject.push([1, 2]);
    expect((await both).map(({ value }) => value as number)).toEqual([1, 2]);
  });
});

describe("a slow reader of a room", () => {
  const fake = inFakeTime();

  it("makes the library stop fetching, bounds memory, and loses nothing", async () => {
    const { room } = await fake.world.joined({ bufferSize: 10 });
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const { data } of room) {
        seen.push(data);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    for (let n = 0; n < 300; n++) {
      fake.world.server.publish("lobby", [{ data: n }]);
      await pass(2);
    }
    const { seq } = room;
    expect(seq).toBeLessThan(fake.world.server.log("lobby").head - 200);
    await pass(60_000);
    expect(seen).toEqual(Array.from({ length: 300 }, (_, n) => n));
    await during(room.leave());
    await reading;
  });

  it("gets what came between join() and its loop", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.publish("lobby", [{ data: "early" }]);
    await pass(100);
    const next = room[Symbol.asyncIterator]().next();
    expect((await next).value).toMatchObject({ data: "early" });
  });

  it("does not stop a room that nobody reads from being rejoined", async () => {
    const { client, room } = await fake.world.joined({ bufferSize: 3 });
    for (let n = 0; n < 20; n++) fake.world.server.publish("lobby", [{ data: n }]);
    await pass(100);
    fake.world.network.last.cut();
    await pass(5_000);
    expect(client.state).toBe("open");
    const seen = collect(room);
    await pass(5_000);
    expect(seen.map(({ data }) => data)).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });
});

describe("a room whose reader was slow", () => {
  const fake = inFakeTime();

  it("is compared with its log when it has caught up, if its beat came due meanwhile", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined({ bufferSize: 10 });
    await pass(5_000);
    server.publish(
      "lobby",
      Array.from({ length: 10 }, (_, data) => ({ data })),
    );
    await pass(100);
    expect(room.stalled).toBe(true);
    // The last frame before a silence is lost.
    server.log("lobby").append([{ id: "last", from: "x", data: "last" }]);
    await pass(60_000);
    const seen = collect(room);
    await pass(60_000);
    expect(seen.map(({ data }) => data)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "last"]);
  });
});
