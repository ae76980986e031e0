import { describe, expect, it } from "vitest";
import type { Room } from "../../src/index.js";
import { ids, inPresenceRoom, ROOM, told } from "../support/presence-room.js";
import { during, pass } from "../support/world.js";

const { fake, present } = inPresenceRoom();

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
    // Only ann asks: the others have come with the newer list, or gone.
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

  it("has a member back whose row was lost, also if the answer that said so was lost", async () => {
    const { server, network } = fake.world;
    await present("ann", "here");
    await pass(4_000);
    const { weather } = network;
    const before = server.renewals;
    server.loseRow(ROOM, network.last);
    network.weather = { ...weather, losesReply: () => server.renewals > before };
    while (server.renewals === before) await pass(1_000);
    network.weather = weather;
    const joins = server.received("joinRoom").length;
    // Frames show that the connection lives.
    for (let n = 0; n < 120; n++) {
      server.publish(ROOM, [{ data: n }]);
      await pass(1_000);
    }
    expect(server.received("joinRoom").slice(joins)).toMatchObject([{ presence: true, presenceData: "here" }]);
    expect(network.sockets.length).toBe(1);
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
