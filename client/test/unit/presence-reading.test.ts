import { describe, expect, it } from "vitest";
import type { Room, RoomcastOptions } from "../../src/index.js";
import { ids, inPresenceRoom, ROOM } from "../support/presence-room.js";
import { pass } from "../support/world.js";

const { fake, present: attend } = inPresenceRoom();

async function present(name: string, options: Partial<RoomcastOptions> = {}): Promise<Room> {
  return (await attend(name, true, options)).room;
}

/** Lets something happen of which no frame tells anybody. */
async function unheard(happens: () => Promise<unknown>): Promise<void> {
  const { network } = fake.world;
  network.weather = { ...network.weather, losesBroadcast: () => true };
  await happens();
  await pass(4_000);
  network.weather = { ...network.weather, losesBroadcast: () => false };
}

/** The questions of one connection, the first by default. */
function asked(socket = 0): { after?: string; limit?: number }[] {
  const sent = fake.world.network.sockets[socket]?.sent ?? [];
  return sent.filter((text) => text.includes("getMembers")).map((text) => JSON.parse(text) as object);
}

describe("a list that is read", () => {
  it("comes in pages that are as large as they may be", async () => {
    fake.world.server.presence.page = 2;
    for (const name of ["a", "b", "c"]) await present(name);
    await pass(4_000);
    const room = await present("d");
    await pass(1_000);
    expect(ids(room)).toEqual(["a", "b", "c", "d"]);
    expect(asked(3).map(({ after, limit }) => [after, limit])).toEqual([["b", 500]]);
  });

  it("after a lost connection is not asked for at once by all who had one", async () => {
    const { server, network } = fake.world;
    server.presence.page = 2;
    const room = await present("a");
    for (const name of ["b", "c", "d"]) await present(name);
    await pass(20_000);
    expect(ids(room)).toEqual(["a", "b", "c", "d"]);
    const told: string[] = [];
    for (const event of ["joined", "left", "updated", "snapshot"] as const)
      room.presence.on(event, () => told.push(event));
    network.sockets[0]?.freeze(false);
    await unheard(() => present("e"));
    const connections = network.sockets.length;
    network.sockets[0]?.cut();
    await pass(1_500);
    expect([room.status, asked(connections), ids(room), told]).toEqual(["joined", [], ["a", "b", "c", "d"], []]);
    await pass(12_000);
    expect([asked(connections).length > 0, ids(room), told]).toEqual([true, ["a", "b", "c", "d", "e"], ["joined"]]);
  });

  it("and refused is an error of the room, and not asked for again before the room is joined again", async () => {
    const { server, network } = fake.world;
    const room = await present("ann");
    await pass(4_000);
    const errors: string[] = [];
    room.on("error", ({ code, roomId }) => errors.push(`${code} ${roomId}`));
    server.script = ({ action }) => (action === "getMembers" ? { code: "forbidden" } : undefined);
    await unheard(() => present("bob"));
    await present("cy");
    await pass(600_000);
    expect([errors, room.status, asked().length, ids(room)]).toEqual([[`forbidden ${ROOM}`], "joined", 1, ["ann"]]);
    server.script = () => undefined;
    network.sockets[0]?.cut();
    await pass(20_000);
    expect(ids(room)).toEqual(["ann", "bob", "cy"]);
    await unheard(() => present("dan"));
    await pass(600_000);
    expect([ids(room), errors.length]).toEqual([["ann", "bob", "cy", "dan"], 1]);
  });

  it("and fails is asked for again, less and less often", async () => {
    const { server } = fake.world;
    const room = await present("ann", { operationTimeoutMs: 100, retry: { base: 1_000, cap: 1_000 } });
    await pass(4_000);
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    server.script = ({ action }) => (action === "getMembers" ? { code: "unavailable" } : undefined);
    await unheard(() => present("bob"));
    await pass(3_600_000);
    expect([errors, asked().length > 5, asked().length < 30]).toEqual([[], true, true]);
    server.script = () => undefined;
    await pass(600_000);
    expect(ids(room)).toEqual(["ann", "bob"]);
    const before = asked().length;
    await unheard(() => present("cy"));
    await pass(600_000);
    expect([ids(room), asked().length - before]).toEqual([["ann", "bob", "cy"], 1]);
  });
});
