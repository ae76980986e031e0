import { describe, expect, it } from "vitest";
import type { Room } from "../../src/index.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const ROOM = "presence:lobby";

async function present(data: unknown): Promise<Room> {
  const client = await fake.world.connected({ token: "ann" });
  const room = client.room(ROOM);
  await during(room.join({ presence: data }));
  return room;
}

/** An array in an array in an array … */
function nested(levels: number): unknown {
  return levels === 0 ? 1 : [nested(levels - 1)];
}

/** The data of `joinRoom` frames. */
const said = () => fake.world.server.received("joinRoom").map(({ presenceData }) => presenceData);

describe("what a member says of itself", () => {
  it.each([
    ["half of a surrogate pair", { name: "\ud83d" }],
    ["half of one in a key", { a: [{ "\udc00": 1 }] }],
    ["more than 50 levels", nested(51)],
  ])("has not %s: no server takes it", async (_what, data) => {
    const room = await present("here");
    expect(await failure(room.presence.update(data))).toMatchObject({ code: "bad_request" });
    expect([room.status, said()]).toEqual(["joined", ["here"]]);
    await during(room.leave());
    expect(await failure(room.join({ presence: data }))).toMatchObject({ code: "bad_request" });
    expect([room.status, said()]).toEqual(["left", ["here"]]);
  });

  it.each([
    ["a pair", "\ud83d\ude00"],
    ["50 levels", nested(50)],
    ["a backslash", "\\ud83d"],
  ])("may have %s", async (_what, data) => {
    const room = await present("here");
    await during(room.presence.update(data));
    expect(said()).toEqual(["here", data]);
  });

  it("stays what it was if the server does not take it, and the room stays joined", async () => {
    const { server, network } = fake.world;
    const room = await present("here");
    const events: string[] = [];
    for (const event of ["status", "left", "error"] as const) room.on(event, () => events.push(event));
    server.script = ({ presenceData }) => (presenceData === "bad" ? { code: "bad_request" } : undefined);
    expect(await failure(room.presence.update("bad"))).toMatchObject({ code: "bad_request", roomId: ROOM });
    await pass(50);
    expect([room.status, room.presence.members, events]).toEqual(["joined", [{ id: "ann", data: "here" }], []]);
    const seen = collect(room);
    server.publish(ROOM, [{ data: "goes on" }]);
    await pass(50);
    expect(seen.map(({ data }) => data)).toEqual(["goes on"]);
    network.last.cut();
    await pass(5_000);
    expect([room.status, said()]).toEqual(["joined", ["here", "bad", "here", "here"]]);
    await during(room.presence.update("there"));
    expect([room.presence.members, said().at(-1)]).toEqual([[{ id: "ann", data: "there" }], "there"]);
  });

  it("stays what it was if the server does not take it when the client is back", async () => {
    const { server, network } = fake.world;
    const room = await present("here");
    server.script = ({ presenceData }) => (presenceData === "bad" ? { code: "bad_request" } : undefined);
    network.last.cut();
    expect(await failure(room.presence.update("bad"))).toMatchObject({ code: "bad_request" });
    await pass(50);
    expect([room.status, room.presence.members, said()]).toEqual([
      "joined",
      [{ id: "ann", data: "here" }],
      ["here", "bad", "here"],
    ]);
  });

  it("that is refused when it is added to a joined room is an error of the room", async () => {
    const { room } = await fake.world.joined({ token: "ann" }, ROOM);
    fake.world.server.script = ({ presenceData }) => (presenceData === "bad" ? { code: "bad_request" } : undefined);
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    void room.join({ presence: "bad" });
    await pass(50);
    expect([room.status, room.presence.members, errors]).toEqual(["joined", [{ id: "ann" }], ["bad_request"]]);
  });

  it.each([
    ["before the client was closed", false],
    ["while the client was closed", true],
  ])(
    "that is refused and was said %s is an error of the room, because nobody waits for it",
    async (_when, isClosed) => {
      const client = await fake.world.connected({ token: "ann" });
      const room = client.room(ROOM);
      await during(room.join({ presence: "here" }));
      const errors: string[] = [];
      room.on("error", ({ code }) => errors.push(code));
      fake.world.server.script = ({ presenceData }) => (presenceData === "bad" ? { code: "bad_request" } : undefined);
      if (isClosed) client.close();
      const update = failure(room.presence.update("bad"));
      client.close();
      expect(await update).toMatchObject({ code: "closed" });
      await during(client.connect());
      await pass(50);
      expect([room.status, room.presence.members, errors]).toEqual([
        "joined",
        [{ id: "ann", data: "here" }],
        ["bad_request"],
      ]);
    },
  );

  it("is not sent by a closed client, which says so first", async () => {
    const room = fake.world.client().room(ROOM);
    expect(await failure(room.presence.update("new"))).toMatchObject({ code: "closed" });
  });

  it("is the newest of what it has said meanwhile", async () => {
    const room = await present("here");
    fake.world.server.script = ({ presenceData }) => (presenceData === "bad" ? { code: "bad_request" } : undefined);
    const bad = room.presence.update("bad");
    await pass(2);
    const good = room.presence.update("good");
    await during(good);
    await during(bad.catch(() => {}));
    expect([room.status, room.presence.members, said()]).toEqual([
      "joined",
      [{ id: "ann", data: "good" }],
      ["here", "bad", "good"],
    ]);
  });

  it("is said again, however often that fails", async () => {
    const room = await present("here");
    let failures = 3;
    fake.world.server.script = ({ presenceData }) =>
      presenceData === "new" && failures-- > 0 ? { code: "unavailable" } : undefined;
    await during(room.presence.update("new"));
    expect([room.status, said()]).toEqual(["joined", ["here", "new", "new", "new", "new"]]);
  });

  it("does not keep a room joined that may not be joined any more", async () => {
    const room = await present("here");
    fake.world.server.forbidden.add(ROOM);
    expect(await failure(room.presence.update("new"))).toMatchObject({ code: "forbidden" });
    await pass(50);
    expect(room.status).toBe("left");
  });
});
