import { describe, expect, it } from "vitest";
import { MessageList } from "../../src/react/message-list.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const texts = (list: MessageList<unknown>) => list.snapshot().messages.map(({ data }) => data);
const many = (count: number, first = 1) => Array.from({ length: count }, (_, at) => ({ data: first + at }));

/** `getHistory` is an eventually consistent read: for so long it does not show what comes from `seq` on. */
function hide(seq: number, ms: number): void {
  const { server, network } = fake.world;
  const until = Date.now() + ms;
  server.script = (frame) => {
    if (frame.action !== "getHistory" || Date.now() > until) return undefined;
    const before = Math.min((frame["before"] as number | undefined) ?? Infinity, seq);
    const page = server.log(frame.roomId ?? "").history(before, (frame["limit"] as number | undefined) ?? 50);
    network.last.inject(JSON.stringify({ type: "history", requestId: frame.requestId, roomId: frame.roomId, ...page }));
    return "silence";
  };
}

describe("a list of messages", () => {
  it("begins with a page of the past and goes on with what comes", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(9));
    const { room } = await world.joined();
    const list = new MessageList(room, 100, 5);
    expect(list.snapshot()).toEqual({ messages: [], loading: true, more: false, error: undefined });
    list.subscribe(() => {});
    await pass(100);
    world.server.publish("lobby", many(2, 10));
    await pass(100);
    expect(texts(list)).toEqual([5, 6, 7, 8, 9, 10, 11]);
    expect(list.snapshot()).toMatchObject({ loading: false, more: true, error: undefined });
  });

  it("has each message once when the past and the present meet", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(3));
    const { room } = await world.joined();
    world.network.weather = { ...world.network.weather, latency: () => 50 };
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    // After the question, before the server answers it: the page has it too.
    await pass(20);
    world.server.publish("lobby", many(2, 4));
    await pass(500);
    expect(texts(list)).toEqual([1, 2, 3, 4, 5]);
  });

  it("is in order when the past is read before all of a long recovery", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(300));
    world.server.pageSize = 50;
    const client = await world.connected();
    const room = client.room("lobby");
    const list = new MessageList(room, 1_000, 50);
    list.subscribe(() => {});
    await during(room.join({ after: 0 }));
    await pass(5_000);
    expect(texts(list)).toEqual(many(300).map(({ data }) => data));
  });

  it("waits for the room to be joined", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(3));
    const client = world.client();
    const room = client.room("lobby");
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(100);
    expect(list.snapshot()).toMatchObject({ loading: true, error: undefined });
    await during(client.connect());
    await during(room.join());
    await pass(100);
    expect(texts(list)).toEqual([1, 2, 3]);
  });

  it("keeps the newest, and what was read from the past on demand", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(30));
    const { room } = await world.joined();
    const list = new MessageList(room, 10, 10);
    list.subscribe(() => {});
    await pass(100);
    world.server.publish("lobby", many(5, 31));
    await pass(100);
    expect(texts(list)).toEqual([26, 27, 28, 29, 30, 31, 32, 33, 34, 35]);
    await during(list.loadOlder());
    await pass(100);
    expect(texts(list)).toEqual(many(20, 16).map(({ data }) => data));
    expect(list.snapshot().more).toBe(true);
    await during(list.loadOlder());
    await during(list.loadOlder());
    await pass(100);
    expect(texts(list)).toEqual(many(35).map(({ data }) => data));
    expect(list.snapshot().more).toBe(false);
  });

  it("reads a long past in several pages", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(300));
    const { room } = await world.joined();
    const list = new MessageList(room, 10, 250);
    list.subscribe(() => {});
    await pass(100);
    expect(texts(list)).toEqual(many(250, 51).map(({ data }) => data));
    expect(world.server.received("getHistory").map((frame) => frame["limit"])).toEqual([100, 100, 50]);
  });

  it("updates once for many messages, with a new list that nobody changes", async () => {
    const { world } = fake;
    const { room } = await world.joined();
    const list = new MessageList(room, 1_000, 0);
    let updates = 0;
    list.subscribe(() => updates++);
    await pass(100);
    world.server.publish("lobby", many(1));
    await pass(100);
    const [first, before] = [list.snapshot(), updates];
    world.server.publish("lobby", many(500, 2));
    await pass(100);
    expect(updates).toBe(before + 1);
    expect(first.messages).toHaveLength(1);
    expect(list.snapshot().messages).toHaveLength(501);
  });

  it("updates at the pace of a screen", async () => {
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 1_000, 0);
    let updates = 0;
    list.subscribe(() => updates++);
    await pass(100);
    updates = 0;
    for (let ms = 0; ms < 160; ms++) {
      fake.world.server.publish("lobby", many(1));
      await pass(1);
    }
    expect(updates).toBeGreaterThanOrEqual(8);
    expect(updates).toBeLessThanOrEqual(10);
  });

  it("keeps no more than twice its bound between updates", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 10, 0);
    list.subscribe(() => {});
    server.publish("lobby", many(1));
    await pass(100);
    const published = server.publish("lobby", many(200));
    await pass(6);
    expect(texts(list)).toHaveLength(1);
    void list.loadOlder();
    await pass(10);
    const before = server.received("getHistory")[0]?.["before"] as number;
    expect(published.findIndex(({ seq }) => seq === before)).toBeGreaterThanOrEqual(180);
  });

  it("keeps the newest of a burst", async () => {
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 10, 0);
    list.subscribe(() => {});
    fake.world.server.publish("lobby", many(200));
    await pass(100);
    expect(texts(list)).toEqual(many(10, 191).map(({ data }) => data));
    expect(list.snapshot().more).toBe(true);
  });

  it("tells when the past cannot be read, and reads it on demand", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(3));
    const { room } = await world.joined();
    world.server.script = ({ action }) => (action === "getHistory" ? { code: "forbidden" } : undefined);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(100);
    expect(list.snapshot()).toMatchObject({ messages: [], loading: false, error: { code: "forbidden" } });
    world.server.script = () => undefined;
    await during(list.loadOlder());
    await pass(100);
    expect(list.snapshot()).toMatchObject({ loading: false, error: undefined });
    expect(texts(list)).toEqual([1, 2, 3]);
  });

  it("is the same after its last component has gone and come back at once, and empty after it has gone", async () => {
    const { world } = fake;
    world.server.publish("lobby", many(3));
    const { room } = await world.joined();
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {})();
    const stop = list.subscribe(() => {});
    await pass(100);
    expect(world.server.received("getHistory")).toHaveLength(1);
    expect(texts(list)).toEqual([1, 2, 3]);
    stop();
    await pass(100);
    expect(list.snapshot()).toEqual({ messages: [], loading: true, more: false, error: undefined });
  });

  it("finds the newest of the past when history does not show them yet as the room is joined", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    const [newest] = server.publish("lobby", [{ data: 3 }]);
    hide(newest?.seq ?? 0, 1_000);
    await during(room.join());
    await pass(500);
    server.publish("lobby", [{ data: 4 }]);
    await pass(60_000);
    expect(texts(list)).toEqual([1, 2, 3, 4]);
  });

  it("finds a message that was delivered before it was watched, and that history does not show yet", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }]);
    const { room } = await fake.world.joined();
    room.on("message", () => {});
    await pass(2_000);
    const [newest] = server.publish("lobby", [{ data: 2 }]);
    hide(newest?.seq ?? 0, 1_000);
    await pass(50);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(500);
    server.publish("lobby", [{ data: 3 }]);
    await pass(60_000);
    expect(texts(list)).toEqual([1, 2, 3]);
  });

  it("says that there may be more while the past could not be read", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }]);
    const { room } = await fake.world.joined();
    server.script = ({ action }) => (action === "getHistory" ? { code: "unavailable" } : undefined);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(40_000);
    expect(list.snapshot()).toMatchObject({ loading: false, error: { code: "timeout" }, more: true });
  });

  it("reads on behind a page of the past in which every message is bad", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }, ...Array.from({ length: 60 }, () => ({ data: "bad" }))]);
    const client = await fake.world.connected();
    const parse = (data: unknown): number => {
      if (typeof data !== "number") throw new TypeError("not a number");
      return data;
    };
    const room = client.room<number>("lobby", { parse });
    await during(room.join());
    const list = new MessageList<number>(room, 100, 20);
    list.subscribe(() => {});
    await pass(100);
    for (let n = 0; n < 5; n++) await during(list.loadOlder());
    await pass(100);
    expect(list.snapshot().messages.map(({ data }) => data)).toEqual([1]);
  });

  it("begins with the newest page when history has hidden more than a page", async () => {
    const { server } = fake.world;
    server.publish("lobby", many(20));
    const [hidden] = server.publish("lobby", many(20, 21));
    const { room } = await fake.world.joined();
    hide(hidden?.seq ?? 0, 300);
    const list = new MessageList(room, 100, 10);
    list.subscribe(() => {});
    await pass(100);
    expect(texts(list)).toEqual(many(10, 11).map(({ data }) => data));
    await pass(1_000);
    expect(texts(list)).toEqual(many(10, 31).map(({ data }) => data));
    expect(list.snapshot().more).toBe(true);
  });

  it("finds what listeners were given before it was watched, while an iterator is slow", async () => {
    const { server } = fake.world;
    server.publish("lobby", [{ data: 1 }]);
    const { room } = await fake.world.joined();
    const slow = room[Symbol.asyncIterator]();
    const [newest] = server.publish("lobby", [{ data: 2 }, { data: 3 }]);
    await pass(100);
    hide((newest?.seq ?? 0) + 1, 1_000);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(100);
    server.publish("lobby", [{ data: 4 }]);
    await pass(60_000);
    await slow.return();
    expect(texts(list)).toEqual([1, 2, 3, 4]);
  });

  it("has no hole when older ones are asked for right after a burst that left the first page behind", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 10, 0);
    list.subscribe(() => {});
    const burst = server.publish("lobby", many(40));
    await pass(100);
    hide(burst[25]?.seq ?? 0, 300);
    await during(list.loadOlder());
    await pass(60_000);
    expect(texts(list)).toEqual(many(40).map(({ data }) => data));
  });

  it("gives up looking for what the log does not have", async () => {
    const { server } = fake.world;
    server.publish("lobby", many(3));
    server.log("lobby").expire();
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(100);
    expect(list.snapshot()).toEqual({ messages: [], loading: false, more: false, error: undefined });
    await pass(60_000);
    expect(server.received("getHistory")).toHaveLength(4);
    expect(list.snapshot()).toEqual({ messages: [], loading: false, more: false, error: undefined });
  });
});
