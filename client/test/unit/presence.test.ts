import { beforeEach, describe, expect, it } from "vitest";
import type { Room, Roomcast, RoomcastOptions } from "../../src/index.js";
import { during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const ROOM = "presence:lobby";

beforeEach(() => {
  fake.world.server.presenceDelay = () => 3_500;
});

/** Somebody in the room who says who they are. */
async function present(
  name: string,
  data: unknown = true,
  options: Partial<RoomcastOptions> = {},
): Promise<{ client: Roomcast; room: Room }> {
  const client = await fake.world.connected({ token: name, ...options });
  const room = client.room(ROOM);
  await during(room.join({ presence: data }));
  return { client, room };
}

const ids = (room: Room) => room.presence.members.map(({ id }) => id);

/** What is told of members, in short. */
function told(room: Room): string[] {
  const seen: string[] = [];
  const text = (data: unknown) => (data === undefined ? "" : ` ${JSON.stringify(data)}`);
  room.presence.on("joined", ({ id, data }) => seen.push(`+${id}${text(data)}`));
  room.presence.on("left", ({ id }) => seen.push(`-${id}`));
  room.presence.on("updated", ({ id, data, previous }) => seen.push(`${id}${text(previous)} ->${text(data)}`));
  room.presence.on("count", ({ count, previous }) => seen.push(`${previous} => ${count}`));
  room.presence.on("snapshot", (members) => seen.push(`[${members.map(({ id }) => id).join()}]`));
  return seen;
}

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

describe("a frame of presence", () => {
  const frame = (room: Room, more: object) => ({ type: "presence", roomId: room.id, count: 9, ...more });

  it("that is lost is found by the next one, and the list read again after a while", async () => {
    const { server, network } = fake.world;
    const ann = await present("ann");
    await pass(4_000);
    const seen = told(ann.room);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    const bob = await present("bob");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    expect(ids(ann.room)).toEqual(["ann"]);
    bob.client.close();
    await present("cy");
    await pass(4_000);
    expect(server.received("getMembers")).toEqual([]);
    await pass(12_000);
    expect(ids(ann.room)).toEqual(["ann", "cy"]);
    expect(seen).toEqual(["+cy", "1 => 2"]);
    // One for each who had the list.
    expect(server.received("getMembers")).toHaveLength(1);
  });

  it("that is lost before a silence is found by a beat", async () => {
    const { server, network } = fake.world;
    const ann = await present("ann");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    await present("bob");
    await pass(4_000);
    network.weather = { ...network.weather, losesBroadcast: () => false };
    await pass(600_000);
    expect(ids(ann.room)).toEqual(["ann", "bob"]);
    expect(server.received("sync").at(-1)).toMatchObject({ presence: { [ROOM]: expect.any(Number) as number } });
  });

  it("that overtakes another waits for it", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann");
    await pass(4_000);
    const rev = server.list(ROOM).rev;
    const seen = told(room);
    network.last.inject(
      JSON.stringify(frame(room, { rev: rev + 9, after: rev + 4, joined: [{ id: "cy" }], left: ["bob"] })),
    );
    await pass(500);
    expect(seen).toEqual([]);
    network.last.inject(
      JSON.stringify(frame(room, { rev: rev + 4, after: rev, joined: [{ id: "bob" }, { id: "dan" }], left: [] })),
    );
    await pass(20_000);
    expect([ids(room), seen]).toEqual([
      ["ann", "cy", "dan"],
      ["+cy", "+dan", "1 => 3"],
    ]);
    expect(server.received("getMembers")).toEqual([]);
  });

  it("that comes twice, or late, changes nothing", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann");
    await pass(4_000);
    const rev = server.list(ROOM).rev;
    const old = JSON.stringify(frame(room, { rev, after: rev - 1, joined: [{ id: "ghost" }], left: ["ann"] }));
    const next = JSON.stringify(frame(room, { rev: rev + 1, after: rev, joined: [{ id: "bob" }] }));
    for (const text of [old, next, old, next, old]) {
      network.last.inject(text);
      await pass(50);
    }
    await pass(15_000);
    expect(ids(room)).toEqual(["ann", "bob"]);
    expect(server.received("getMembers")).toEqual([]);
  });

  it("that makes the list be read again does so for one join: what comes later is dropped", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann");
    await pass(4_000);
    const { rev } = server.list(ROOM);
    server.script = ({ action }) => (action === "getMembers" ? "silence" : undefined);
    network.last.inject(JSON.stringify(frame(room, { rev: rev + 9, after: rev + 8, joined: [] })));
    await pass(5_000);
    const { requestId } = server.received("getMembers")[0] ?? {};
    void room.leave();
    await during(room.join({ presence: true }));
    const late = { type: "members", requestId, roomId: ROOM, rev: rev + 99_999, count: 1, members: [{ id: "ghost" }] };
    network.last.inject(JSON.stringify(late));
    await pass(50);
    expect(ids(room)).toEqual(["ann"]);
  });

  it("that is old does not take a newer list away", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann");
    await pass(4_000);
    network.last.inject(JSON.stringify({ type: "presence", roomId: ROOM, rev: server.list(ROOM).rev - 1, count: 900 }));
    await pass(50);
    expect([room.presence.listed, room.presence.count]).toEqual([true, 1]);
  });

  it("that says nothing but that much has changed is followed by a reading", async () => {
    fake.world.server.presence.frame = 1;
    const { room } = await present("ann");
    await pass(4_000);
    const seen = told(room);
    await present("bob");
    await present("cy");
    await pass(20_000);
    expect([ids(room), seen]).toEqual([
      ["ann", "bob", "cy"],
      ["+bob", "+cy", "1 => 3"],
    ]);
  });

  it("that calls oneself gone is not believed", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann", "here");
    await pass(4_000);
    const { rev } = server.list(ROOM);
    const seen = told(room);
    network.last.inject(JSON.stringify(frame(room, { rev: rev + 1, after: rev, left: ["ann"] })));
    await pass(50);
    expect([room.presence.members, seen]).toEqual([[{ id: "ann", data: "here" }], []]);
  });

  it("that tells others of an end that was none is followed by another, after a beat", async () => {
    const { server, network } = fake.world;
    const { room } = await present("ann", "here");
    const bob = await present("bob");
    await pass(4_000);
    const seen = told(room);
    server.loseRow(ROOM, network.sockets[0] as never);
    server.publishMembers(ROOM);
    await pass(50);
    expect([ids(room), ids(bob.room), seen]).toEqual([["ann", "bob"], ["bob"], []]);
    const joins = server.received("joinRoom").length;
    await pass(600_000);
    expect(server.received("joinRoom").slice(joins)).toMatchObject([{ presence: true, presenceData: "here" }]);
    expect(ids(bob.room)).toEqual(["ann", "bob"]);
  });

  it("is none of a room's that is joined without", async () => {
    await present("ann");
    const { room } = await fake.world.joined({ token: "bob" }, ROOM);
    await present("cy");
    await pass(20_000);
    expect([room.presence.count, ids(room)]).toEqual([0, []]);
    expect(fake.world.server.received("getMembers")).toEqual([]);
    const syncs = fake.world.network.sockets[1]?.sent.filter((text) => text.includes('"sync"')) ?? [];
    expect([
      syncs.length > 0,
      syncs.filter((text) => text.includes('presence":{')),
      fake.world.network.sockets.length,
    ]).toEqual([true, [], 3]);
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
    Object.assign(server.presence, { list: 2, says: true });
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
