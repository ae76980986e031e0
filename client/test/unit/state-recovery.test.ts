import { describe, expect, it } from "vitest";
import { changes, inStateRoom, shown } from "../support/state-room.js";
import { collect, during, failure, pass } from "../support/world.js";

const { fake, put, remove, watched } = inStateRoom();

describe("state after a lost connection", () => {
  it("follows the log, and tells what has changed", async () => {
    put("a", 1);
    put("b", 1);
    const room = await watched();
    const told = changes(room);
    fake.world.network.last.cut();
    put("a", 2);
    remove("b");
    await pass(5_000);
    expect(told).toEqual(["a set 1 -> 2", "b removed 1 -> undefined"]);
    expect(fake.world.server.received("joinRoom").at(-1)).toMatchObject({
      state: true,
      after: expect.any(Number) as number,
    });
    expect(fake.world.server.received("getState")).toEqual([]);
  });

  it("is read anew if the log has lost something: what is in no page is dropped", async () => {
    const { server, network } = fake.world;
    put("a", 1);
    put("b", 1);
    put("c", 1);
    const room = await watched();
    const told = changes(room);
    network.last.cut();
    remove("a");
    put("b", 2);
    for (let n = 0; n < 30; n++) put("d", n);
    // A look at the state more than a day later makes the server forget the removal.
    server.state("fx").page(0, "", 0, Date.now() + 100_000_000);
    server.log("fx").expire(3);
    await pass(5_000);
    expect(shown(room)).toEqual({ b: 2, c: 1, d: 29 });
    expect(told).toEqual(["b set 1 -> 2", "d set undefined -> 29", "a removed 1 -> undefined", "snapshot of 3"]);
  });

  it("is not brought back by messages that the log still has of what is gone", async () => {
    const { server, network } = fake.world;
    put("a", 1);
    const room = await watched();
    const told = changes(room);
    network.last.cut();
    for (let n = 0; n < 5; n++) put("x", n);
    put("late", 1);
    remove("late");
    server.log("fx").expire(2);
    await pass(5_000);
    expect(shown(room)).toEqual({ a: 1, x: 4 });
    expect(told.filter((change) => change.startsWith("late"))).toEqual([]);
  });

  it("is read anew, without the messages, if there are many and nobody reads them", async () => {
    const { server, network } = fake.world;
    server.pageSize = 10;
    const room = await watched();
    network.last.cut();
    for (let n = 0; n < 500; n++) put(`k${n % 7}`, n);
    const frames = server.frames.length;
    await pass(5_000);
    expect(shown(room)).toEqual(Object.fromEntries([497, 498, 499, 493, 494, 495, 496].map((n) => [`k${n % 7}`, n])));
    expect(
      server.frames
        .slice(frames)
        .map(({ action }) => action)
        .sort(),
    ).toEqual(["getState", "joinRoom", "sync"]);
    put("k0", "live");
    await pass(50);
    expect(shown(room)).toMatchObject({ k0: "live" });
  });

  it("is waited for without asking the log for what will be skipped", async () => {
    const { server, network } = fake.world;
    server.pageSize = 10;
    const room = await watched();
    network.last.cut();
    for (let n = 0; n < 60; n++) put("a", n);
    server.script = ({ action }) => (action === "getState" ? "silence" : undefined);
    await pass(3_000);
    const asked = server.received("sync").length;
    for (let n = 0; n < 40; n++) {
      put("a", `live ${n}`);
      await pass(500);
    }
    expect(server.received("sync").length - asked).toBeLessThanOrEqual(2);
    server.script = () => undefined;
    await pass(20_000);
    expect([room.status, shown(room)]).toEqual(["joined", { a: "live 39" }]);
    network.weather = { ...network.weather, losesBroadcast: () => true };
    put("a", "lost");
    network.weather = { ...network.weather, losesBroadcast: () => false };
    put("b", "gap");
    await pass(1_000);
    expect(shown(room)).toEqual({ a: "lost", b: "gap" });
  });

  it("is whole before messages are skipped that nobody reads", async () => {
    const { server, network } = fake.world;
    server.pageSize = 10;
    server.statePage = { joined: 1, next: 1 };
    for (const key of "abc") put(key, "old");
    const room = await watched();
    await during(room.state.ready);
    network.last.cut();
    for (let n = 0; n < 60; n++) put("abc"[n % 3] ?? "", n);
    server.log("fx").expire(30);
    server.script = ({ action }) => (action === "getState" ? "silence" : undefined);
    await pass(5_000);
    expect([room.status, room.state.get("c")?.data]).toEqual(["recovering", "old"]);
    put("c", "newest");
    server.script = () => undefined;
    await pass(20_000);
    expect([room.status, shown(room)]).toEqual(["joined", { a: 57, b: 58, c: "newest" }]);
  });

  it("comes with every message if somebody reads", async () => {
    const { server, network } = fake.world;
    server.pageSize = 10;
    const room = await watched();
    const seen = collect(room);
    network.last.cut();
    for (let n = 0; n < 50; n++) put("k", n);
    await pass(5_000);
    expect(seen).toHaveLength(50);
    expect(shown(room)).toEqual({ k: 49 });
    expect(server.received("getState")).toEqual([]);
  });

  it("belongs to the log that is there: one that was restored has other values", async () => {
    const { server, network } = fake.world;
    put("a", 1);
    put("b", 1);
    const room = await watched();
    for (let n = 0; n < 20; n++) put("a", n, { version: 50 });
    put("gone", 1);
    await pass(50);
    network.last.cut();
    // The tables are restored as of an earlier time.
    server.logs.delete("fx");
    server.restore("fx");
    put("a", "restored");
    const first = server.log("fx").all[0];
    if (first) first.seq = (room.seq ?? 0) - 10;
    server.restore("fx");
    server.state("fx").write(server.log("fx").all, 86_400, server.now());
    await pass(5_000);
    expect(shown(room)).toEqual({ a: "restored" });
    put("a", "after");
    await pass(50);
    expect(shown(room)).toEqual({ a: "after" });
  });

  it("is that of a restored log also where a beat finds it", async () => {
    const { server } = fake.world;
    const room = await watched({ syncIntervalMs: 5_000 });
    put("a", "newer", { version: 50 });
    put("gone", 1);
    await pass(50);
    server.logs.delete("fx");
    server.restore("fx");
    const [message] = server.log("fx").append([{ id: "r", from: "ops", key: "a", data: "restored", version: 1 }]);
    if (message) message.seq = (room.seq ?? 0) - 10;
    server.state("fx").write(server.log("fx").all, 86_400, server.now());
    await pass(60_000);
    expect(shown(room)).toEqual({ a: "restored" });
  });

  it("drops what is gone also where the log has forgotten its numbers", async () => {
    const { server, network } = fake.world;
    put("a", 1);
    put("b", 1);
    const room = await watched();
    network.last.cut();
    remove("a");
    server.state("fx").page(0, "", 0, Date.now() + 100_000_000);
    server.log("fx").remembers = false;
    server.log("fx").expire();
    await pass(5_000);
    expect(shown(room)).toEqual({ b: 1 });
  });

  it("loses no message that comes while it is read only to skip messages", async () => {
    const { server, network } = fake.world;
    server.pageSize = 10;
    put("a", "old");
    server.statePage = { joined: 1, next: 1 };
    const room = await watched();
    network.weather = { ...network.weather, losesBroadcast: () => true };
    const late = Array.from({ length: 30 }, (_, n) =>
      server.publish("fx", [{ key: n === 15 ? "k" : "a", data: n, ...(n === 15 && { version: 5 }) }]),
    ).flat();
    network.weather = { ...network.weather, losesBroadcast: () => false };
    server.script = ({ action, after }) => (action === "getState" && after !== undefined ? "silence" : undefined);
    put("a", "gap");
    await pass(2_000);
    expect(server.received("getState").map(({ after }) => after)).toEqual([undefined, "a"]);
    server.broadcast("fx", late);
    put("k", "without a version");
    await pass(50);
    expect(shown(room)).toEqual({ a: "gap", k: 15 });
    server.script = () => undefined;
    await pass(30_000);
    expect(shown(room)).toEqual({ a: "gap", k: 15 });
  });

  it("outlives close(), and ends with leave()", async () => {
    put("a", 1);
    const room = await watched();
    const client = fake.world.clients[0];
    client?.close();
    expect(shown(room)).toEqual({ a: 1 });
    put("a", 2);
    await during(client?.connect() ?? Promise.resolve());
    await pass(100);
    expect(shown(room)).toEqual({ a: 2 });
    await during(room.leave());
    expect([room.state.size, room.state.isReady]).toEqual([0, false]);
  });

  it("does not go back when messages come again that a loop had not read at close()", async () => {
    const room = await watched();
    const loop = room[Symbol.asyncIterator]();
    put("a", 1);
    remove("a");
    // The removal is remembered for a minute.
    await pass(120_000);
    const told = changes(room);
    const client = fake.world.clients[0];
    client?.close();
    await during(client?.connect() ?? Promise.resolve());
    await pass(100);
    expect([told, shown(room)]).toEqual([[], {}]);
    await loop.return();
  });

  it("has all of what came at once when a listener closes the client", async () => {
    const room = await watched();
    const client = fake.world.clients[0];
    room.state.on("change", () => client?.close());
    fake.world.server.publish("fx", [
      { key: "a", data: 1 },
      { key: "b", data: 1 },
    ]);
    await pass(50);
    await during(client?.connect() ?? Promise.resolve());
    await pass(100);
    expect(shown(room)).toEqual({ a: 1, b: 1 });
  });
});

describe("pages of state", () => {
  it("belong to one join: those of an earlier one are dropped", async () => {
    const { server, network } = fake.world;
    for (let n = 0; n < 4; n++) put(`k${n}`, "old");
    server.statePage = { joined: 1, next: 1 };
    const client = await fake.world.connected();
    const room = client.room("fx");
    // The pages of the first join come late. StrictMode joins, leaves and joins like this.
    const latencies = [5, 5, 5, 400, 5, 5];
    network.weather = { ...network.weather, latency: () => latencies.shift() ?? 5 };
    await during(room.join({ state: true }));
    const first = room.state.ready;
    await pass(8);
    await during(room.leave());
    expect(await failure(first)).toMatchObject({ code: "left" });
    for (let n = 0; n < 4; n++) remove(`k${n}`);
    put("k9", "new");
    await during(room.join({ state: true }));
    await during(room.state.ready);
    expect(shown(room)).toEqual({ k9: "new" });
    await pass(1_000);
    expect(shown(room)).toEqual({ k9: "new" });
  });

  it("are asked for until they come", async () => {
    const { server } = fake.world;
    put("a", 1);
    put("b", 1);
    server.statePage = { joined: 1, next: 1 };
    let failures = 40;
    server.script = ({ action }) => (action === "getState" && failures-- > 0 ? { code: "unavailable" } : undefined);
    const room = await watched();
    await pass(30_000);
    fake.world.network.last.cut();
    await pass(400_000);
    expect(shown(room)).toEqual({ a: 1, b: 1 });
  });

  it("that are refused are an error of the room, which goes on", async () => {
    const { server } = fake.world;
    put("a", 1);
    put("b", 1);
    server.statePage = { joined: 1, next: 1 };
    server.script = ({ action }) => (action === "getState" ? { code: "forbidden" } : undefined);
    const client = await fake.world.connected();
    const room = client.room("fx");
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    await during(room.join({ state: true }));
    expect(await failure(room.state.ready)).toMatchObject({ code: "forbidden" });
    expect([errors, room.status]).toEqual([["forbidden"], "joined"]);
  });

  it("are not asked for in a room without state", async () => {
    fake.world.server.stateless.add("fx");
    const client = await fake.world.connected();
    const room = client.room("fx");
    await during(room.join({ state: true }));
    expect(await failure(room.state.ready)).toMatchObject({ code: "bad_request" });
    const seen = collect(room);
    fake.world.network.last.cut();
    fake.world.server.pageSize = 2;
    for (let n = 0; n < 9; n++) put("a", n);
    await pass(5_000);
    expect(seen).toHaveLength(9);
  });
});
