import { describe, expect, it } from "vitest";
import { presenceStore } from "../../src/react/presence-store.js";
import { RoomStore } from "../../src/react/room-store.js";
import { stateStore } from "../../src/react/state-store.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

const put = (key: string, data: unknown) => fake.world.server.publish("fx", [{ key, data }]);

describe("the state of a held room", () => {
  async function held() {
    const client = await fake.world.connected();
    const room = client.room("fx");
    const release = new RoomStore(client, room).hold(undefined, { state: true, presence: undefined });
    await pass(50);
    return { room, release, store: stateStore(room) };
  }

  it("is a snapshot that changes only when the state does, at most once in 16 ms", async () => {
    put("a", 1);
    const { store } = await held();
    let updates = 0;
    const stop = store.subscribe(() => updates++);
    const first = store.snapshot();
    expect([first.ready, first.entries.get("a")?.data, store.snapshot() === first]).toEqual([true, 1, true]);
    for (let n = 0; n < 50; n++) put("a", n);
    put("b", 1);
    await pass(25);
    const second = store.snapshot();
    expect([updates, second.entries.get("a")?.data, second.entries.size, first.entries.size]).toEqual([1, 49, 2, 1]);
    await pass(1_000);
    expect([updates, store.snapshot() === second]).toEqual([1, true]);
    stop();
  });

  it("tells who watches a key of that key only", async () => {
    const { room, store } = await held();
    const told: string[] = [];
    const stops = ["a", "b", "a"].map((key, at) => store.subscribeTo(key)(() => told.push(`${key}${at}`)));
    put("a", 1);
    put("c", 1);
    await pass(50);
    expect(told.sort()).toEqual(["a0", "a2"]);
    for (const stop of stops) stop();
    await pass(50);
    put("a", 2);
    await pass(50);
    expect([told.length, room.state.listening()]).toEqual([2, false]);
  });

  it("is right when nobody has watched meanwhile", async () => {
    const { store } = await held();
    const stop = store.subscribe(() => {});
    const before = store.snapshot();
    stop();
    await pass(50);
    put("a", 1);
    await pass(50);
    expect([before.entries.size, store.snapshot().entries.size]).toEqual([0, 1]);
    expect(store.snapshot()).toBe(store.snapshot());
  });

  it("does not wait for readers of messages, and is nothing when the room is left", async () => {
    const { room, release, store } = await held();
    const stop = store.subscribe(() => {});
    put("a", 1);
    await pass(50);
    expect([store.snapshot().entries.size, room.listening("message")]).toEqual([1, false]);
    release();
    await pass(100);
    expect([room.status, store.snapshot()]).toEqual(["left", { entries: new Map(), ready: false }]);
    stop();
  });
});

describe("presence in a held room", () => {
  it("is a snapshot that changes only when the list does", async () => {
    const client = await fake.world.connected({ token: "ann" });
    const room = client.room("presence:lobby");
    const store = presenceStore(room);
    let updates = 0;
    store.subscribe(() => updates++);
    const held = new RoomStore(client, room);
    const release = held.hold(undefined, { state: false, presence: { name: "Ann" } });
    await pass(50);
    const first = store.snapshot();
    expect([first, store.snapshot() === first, updates > 0]).toEqual([
      { members: [{ id: "ann", data: { name: "Ann" } }], count: 1, listed: true },
      true,
      true,
    ]);
    const bob = await fake.world.connected({ token: "bob" });
    await during(bob.room("presence:lobby").join({ presence: true }));
    await pass(4_000);
    expect(store.snapshot().members.map(({ id }) => id)).toEqual(["ann", "bob"]);
    held.say({ name: "Ann" });
    await pass(50);
    expect(fake.world.server.received("joinRoom")).toHaveLength(2);
    held.say({ name: "Ann", away: true });
    await pass(50);
    expect(store.snapshot().members[0]).toEqual({ id: "ann", data: { name: "Ann", away: true } });
    release();
    await pass(100);
    expect(store.snapshot()).toEqual({ members: [], count: 0, listed: false });
  });

  it("is asked for by whoever comes later, also in a room that the application has joined", async () => {
    const { client, room } = await fake.world.joined({ token: "ann" }, "fx");
    put("a", 1);
    const held = new RoomStore(client, room);
    const one = held.hold(undefined);
    const two = held.hold(undefined, { state: true, presence: undefined });
    const three = held.hold(undefined, { state: false, presence: true });
    await pass(50);
    expect([room.state.get("a")?.data, room.presence.members]).toEqual([1, [{ id: "ann" }]]);
    for (const release of [one, two, three]) release();
    await pass(100);
    expect(room.status).toBe("joined");
  });

  it("is asked for when the client connects anew by whoever came while it was closed", async () => {
    put("a", 1);
    const client = await fake.world.connected({ token: "ann" });
    const room = client.room("fx");
    const held = new RoomStore(client, room);
    held.hold(undefined);
    await pass(50);
    client.close();
    held.hold(undefined, { state: true, presence: true });
    await during(client.connect());
    await pass(50);
    expect([room.state.get("a")?.data, room.presence.members]).toEqual([1, [{ id: "ann" }]]);
    expect(fake.world.server.received("joinRoom")).toHaveLength(2);
  });
});
