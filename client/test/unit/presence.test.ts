import { describe, expect, it } from "vitest";
import type { Room } from "../../src/index.js";
import { ids, inPresenceRoom, ROOM, told } from "../support/presence-room.js";
import { during, failure, pass } from "../support/world.js";

const { fake, present } = inPresenceRoom();

describe("presence", () => {
  it("lists oneself from the join on, and others as they come and go", async () => {
    const client = await fake.world.connected({ token: "ann" });
    const room = client.room(ROOM);
    const seen = told(room);
    await during(room.join({ presence: { name: "Ann" } }));
    expect(room.presence.members).toEqual([{ id: "ann", data: { name: "Ann" } }]);
    expect([room.presence.count, room.presence.listed, seen]).toEqual([1, true, ["[ann]", "0 => 1"]]);
    const bob = await present("bob", { name: "Bob" });
    await pass(4_000);
    expect(ids(room)).toEqual(["ann", "bob"]);
    await during(bob.room.leave());
    await pass(4_000);
    expect(ids(room)).toEqual(["ann"]);
    expect(seen.slice(2)).toEqual(['+bob {"name":"Bob"}', "1 => 2", "-bob", "2 => 1"]);
    const sent = fake.world.server.received("joinRoom")[0];
    expect(sent).toMatchObject({ presence: true, presenceData: { name: "Ann" } });
  });

  it("gives who comes later the list at once, without events", async () => {
    await present("ann");
    await present("cy");
    await pass(4_000);
    const client = await fake.world.connected({ token: "bob" });
    const room = client.room(ROOM);
    const seen = told(room);
    await during(room.join({ presence: true }));
    expect([ids(room), seen]).toEqual([
      ["ann", "bob", "cy"],
      ["[ann,bob,cy]", "0 => 3"],
    ]);
    await pass(10_000);
    expect([ids(room), seen.length]).toEqual([["ann", "bob", "cy"], 2]);
  });

  it("reads a long list in pages, and applies the frames that come meanwhile", async () => {
    const { server, network } = fake.world;
    server.presence.page = 2;
    for (const name of ["a", "b", "c", "d", "e"]) await present(name);
    await pass(4_000);
    const slow = await fake.world.connected({ token: "f" });
    const room = slow.room(ROOM);
    const seen = told(room);
    const b = fake.world.clients[1];
    b?.close();
    await pass(3_480);
    // The frame that says that b has gone comes between the first page and the last.
    network.weather = { ...network.weather, latency: () => 15 };
    await during(room.join({ presence: true }));
    await pass(1_000);
    expect(ids(room)).toEqual(["a", "c", "d", "e", "f"]);
    expect(seen.filter((event) => event.includes("b"))).not.toContain("+b");
    const pages = server.received("getMembers");
    expect(pages.map(({ after }) => after)).toEqual(["b", "d"]);
    expect([new Set(pages.map(({ rev }) => rev)).size, typeof pages[0]?.["rev"]]).toEqual([1, "number"]);
  });

  it("says something else of oneself", async () => {
    const ann = await present("ann", { name: "Ann" });
    const bob = await present("bob");
    await pass(4_000);
    const seen = told(bob.room);
    const data = { name: "Ann", away: true };
    const updating = ann.room.presence.update(data);
    data.away = false;
    await during(updating);
    expect(ann.room.presence.members[0]).toEqual({ id: "ann", data: { name: "Ann", away: true } });
    await pass(4_000);
    expect(seen).toEqual(['ann {"name":"Ann"} -> {"name":"Ann","away":true}']);
    expect(fake.world.server.received("leaveRoom")).toEqual([]);
  });

  it("says what it says last, also while the room is being joined", async () => {
    const client = await fake.world.connected({ token: "ann" });
    const room = client.room(ROOM);
    const joining = room.join({ presence: "first" });
    await pass(2);
    const updating = room.presence.update("second");
    await during(joining);
    await during(updating);
    expect(fake.world.server.received("joinRoom").map(({ presenceData }) => presenceData)).toEqual(["first", "second"]);
    expect(room.presence.members).toEqual([{ id: "ann", data: "second" }]);
  });

  it("has no answer to wait for when the client is closed, and says it when it is back", async () => {
    const { client, room } = await present("ann", "here");
    fake.world.server.script = () => "silence";
    const update = failure(room.presence.update("new"));
    await pass(50);
    const closedAt = Date.now();
    client.close();
    expect([(await update).code, Date.now() - closedAt <= 5]).toEqual(["closed", true]);
    fake.world.server.script = () => undefined;
    await during(client.connect());
    await pass(50);
    expect(room.presence.members).toEqual([{ id: "ann", data: "new" }]);
  });

  it("shows what a second tab says, which is one member with the first", async () => {
    const one = await present("ann", "one");
    const bob = await present("bob");
    await pass(4_000);
    const seen = told(bob.room);
    const two = await present("ann", "two");
    await pass(4_000);
    for (const { room } of [one, two, bob]) expect(room.presence.members[0]).toEqual({ id: "ann", data: "two" });
    await during(two.room.leave());
    await pass(4_000);
    expect([seen, bob.room.presence.count]).toEqual([['ann "one" -> "two"', 'ann "two" -> "one"'], 2]);
  });

  it.each([
    ["a hand-over", async () => pass(120_000), { handoverAfterMs: 60_000 }],
    [
      "a return within the delay",
      async () => {
        fake.world.network.sockets[0]?.cut();
        await pass(60_000);
      },
      {},
    ],
  ])("tells nothing of %s", async (_what, happens, options) => {
    await present("ann", { name: "Ann" }, options);
    const bob = await present("bob");
    await pass(4_000);
    const seen = told(bob.room);
    const own = told(fake.world.clients[0]?.room(ROOM) as Room);
    const connections = fake.world.network.sockets.length;
    await happens();
    expect(fake.world.network.sockets.length).toBeGreaterThan(connections);
    expect([seen, own]).toEqual([[], []]);
  });

  it("ends with leave(), and begins anew", async () => {
    const ann = await present("ann", "here");
    await during(ann.room.leave());
    expect([ann.room.presence.members, ann.room.presence.count, ann.room.presence.listed]).toEqual([[], 0, false]);
    await during(ann.room.join());
    expect(fake.world.server.received("joinRoom").at(-1)).not.toHaveProperty("presence");
    expect(await failure(ann.room.presence.update("x"))).toMatchObject({ code: "bad_request" });
  });

  it("takes up to 1 KiB of data", async () => {
    const client = await fake.world.connected();
    const room = client.room(ROOM);
    expect(await failure(room.join({ presence: "x".repeat(1_023) }))).toMatchObject({ code: "too_large" });
    expect(room.status).toBe("left");
    expect(await failure(room.join({ presence: () => 1 }))).toMatchObject({ code: "bad_request" });
    await during(room.join({ presence: "x".repeat(1_022) }));
    expect(await failure(room.presence.update("x".repeat(1_023)))).toMatchObject({ code: "too_large" });
    expect(room.status).toBe("joined");
  });

  it("is an error in a room without, which is joined all the same", async () => {
    fake.world.server.unlisted.add(ROOM);
    const room = (await fake.world.connected({ token: "ann" })).room(ROOM);
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    await during(room.join({ presence: true }));
    expect([room.status, room.presence.listed, room.presence.count, errors]).toEqual([
      "joined",
      false,
      0,
      ["bad_request"],
    ]);
    expect(await failure(room.presence.page())).toMatchObject({ code: "bad_request" });
    expect(await failure(room.presence.update("here"))).toMatchObject({ code: "bad_request" });
    expect([room.status, errors]).toEqual(["joined", ["bad_request"]]);
  });

  it("pages, also in a room that is not joined", async () => {
    for (const name of ["a", "b", "c"]) await present(name, name);
    await pass(4_000);
    const room = (await fake.world.connected({ token: "z" })).room(ROOM);
    const first = await during(room.presence.page({ limit: 2 }));
    expect(first).toEqual({
      members: [
        { id: "a", data: "a" },
        { id: "b", data: "b" },
      ],
      count: 3,
      next: "b",
    });
    expect(await during(room.presence.page({ after: "b" }))).toEqual({
      members: [{ id: "c", data: "c" }],
      count: 3,
      next: undefined,
    });
    expect(await failure(room.presence.page({ limit: 501 }))).toMatchObject({ code: "bad_request" });
  });
});

describe("a member of a busy room", () => {
  it("syncs before it is taken for gone", async () => {
    const { server } = fake.world;
    server.presence.syncWithinMs = 27_000;
    await present("ann");
    await pass(4_000);
    const syncs = server.received("sync").length;
    for (let second = 0; second < 120; second++) {
      server.publish(ROOM, [{ data: second }]);
      await pass(1_000);
    }
    const seen = server.received("sync").length - syncs;
    expect([seen >= 4, seen <= 6]).toEqual([true, true]);
  });

  it("syncs also when its messages are not read, which are not fetched in vain", async () => {
    const { server } = fake.world;
    server.presence.syncWithinMs = 27_000;
    const { room } = await present("ann", true, { bufferSize: 3 });
    const iterator = room[Symbol.asyncIterator]();
    await pass(4_000);
    const syncs = server.received("sync").length;
    for (let second = 0; second < 120; second++) {
      server.publish(ROOM, [{ data: second }]);
      await pass(1_000);
    }
    const asked = server.received("sync").slice(syncs) as { rooms?: Record<string, number> }[];
    expect([asked.length >= 4, asked.length <= 6, room.stalled]).toEqual([true, true, true]);
    const first = server.log(ROOM).all[0]?.seq ?? 0;
    const known = asked.map(({ rooms }) => (rooms?.[ROOM] ?? 0) - first);
    expect(known.map((at, n) => at - (known[n - 1] ?? at - 25) > 20)).toEqual(known.map(() => true));
    const read: unknown[] = [];
    while (read.length < 120) read.push((await during(iterator.next())).value?.data);
    expect(read).toEqual(Array.from({ length: 120 }, (_, second) => second));
  });
});

describe("a connection that the server counts although it has not asked for the members", () => {
  it("syncs also when its messages are not read", async () => {
    const { server } = fake.world;
    server.counted.add(ROOM);
    server.presence.syncWithinMs = 27_000;
    const { room } = await fake.world.joined({ bufferSize: 3 }, ROOM);
    for (let n = 0; n < 5; n++) server.publish(ROOM, [{ data: n }]);
    await pass(4_000);
    const syncs = server.received("sync").length;
    await pass(120_000);
    expect([server.received("sync").length - syncs >= 4, room.stalled]).toEqual([true, true]);
  });
});

describe("a room that is too large for a list", () => {
  it("has a count, and a list again when it is smaller", async () => {
    const { server } = fake.world;
    server.presence.list = 4;
    const { room } = await present("a");
    const seen = told(room);
    const others: Awaited<ReturnType<typeof present>>[] = [];
    for (const name of ["b", "c", "d", "e"]) others.push(await present(name));
    await pass(4_000);
    expect([room.presence.listed, room.presence.count, ids(room)]).toEqual([false, 5, []]);
    expect(seen.filter((event) => event.startsWith("-"))).toEqual([]);
    const { room: sixth } = await present("f");
    expect([sixth.presence.listed, sixth.presence.count]).toEqual([false, 5]);
    await pass(4_000);
    expect([room.presence.count, sixth.presence.count]).toEqual([6, 6]);
    expect((await during(room.presence.page({ limit: 3 }))).members.map(({ id }) => id)).toEqual(["a", "b", "c"]);
    seen.length = 0;
    for (const { client } of others) client.close();
    await pass(20_000);
    expect([room.presence.listed, ids(room), seen]).toEqual([true, ["a", "f"], ["[a,f]", "6 => 2"]]);
    expect(ids(sixth)).toEqual(["a", "f"]);
  });

  it("is known for one from a page, whatever frames are lost", async () => {
    const { server, network } = fake.world;
    server.presence.list = 2;
    const { room } = await present("a");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    await present("b");
    await present("c");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    await pass(600_000);
    expect([room.presence.listed, room.presence.count]).toEqual([false, 3]);
    await present("d");
    await pass(4_000);
    expect([room.presence.listed, room.presence.count]).toEqual([false, 4]);
    const pages = server.received("getMembers").length;
    network.weather = { ...network.weather, losesBroadcast: () => true };
    await present("e");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    await pass(600_000);
    expect([room.presence.listed, room.presence.count]).toEqual([false, 5]);
    expect(server.received("getMembers").length - pages).toBeLessThanOrEqual(5);
  });

  it("reads no more of it than a list has", async () => {
    const { server, network } = fake.world;
    server.presence.page = 1;
    const { room } = await present("ann");
    await pass(4_000);
    for (let n = 0; n < 30; n++) await present(`b${n}`);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    const asked = () => network.sockets[0]?.sent.filter((text) => text.includes("getMembers")).length;
    const before = asked() ?? 0;
    await pass(600_000);
    expect((asked() ?? 0) - before).toBeLessThanOrEqual(20);
    expect([room.presence.listed, room.presence.count]).toEqual([false, 31]);
  });

  it("is found by a beat if its frame was lost", async () => {
    const { server, network } = fake.world;
    server.presence.list = 2;
    const { room } = await present("a");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    const others = [await present("b"), await present("c")];
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    await pass(600_000);
    expect([room.presence.listed, room.presence.count]).toEqual([false, 3]);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    for (const { client } of others) client.close();
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    await pass(600_000);
    expect([room.presence.listed, ids(room)]).toEqual([true, ["a"]]);
  });
});
