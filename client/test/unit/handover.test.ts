import { describe, expect, it } from "vitest";
import type { StateChange } from "../../src/index.js";
import { violations } from "../support/history-checker.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime(0);
const HOUR = 3_600_000;

describe("the hand-over", () => {
  it("happens before API Gateway cuts the connection, and nobody notices", async () => {
    const { client, room } = await fake.world.joined();
    await during(client.room("other").join());
    const changes: StateChange[] = [];
    client.on("state", (change) => changes.push(change));
    const seen = collect(room);
    const start = room.seq ?? 0;
    // A message every ten seconds for five hours.
    for (let second = 0; second < 5 * 3_600; second++) {
      if (second % 10 === 0) fake.world.server.publish("lobby", [{ data: second }]);
      await pass(1_000);
    }
    const { sockets } = fake.world.network;
    expect(sockets).toHaveLength(3);
    expect(sockets.map(({ closedWith }) => closedWith)).toEqual([1000, 1000, undefined]);
    expect(changes).toEqual([]);
    expect(seen).toHaveLength(1_800);
    expect(seen.every(({ recovered }) => !recovered)).toBe(true);
    expect(violations({ who: "alice", start, seen, truncated: [] }, fake.world.server.log("lobby"))).toEqual([]);
  }, 60_000);

  it("joins every room on the new connection before it closes the old one", async () => {
    const { client } = await fake.world.joined({ handoverAfterMs: 60_000 });
    await during(client.room("other").join());
    await pass(60_000);
    const [old, next] = fake.world.network.sockets;
    expect(next?.readyState).toBe(1);
    expect(old?.readyState).toBe(1);
    const joins = next?.sent.map((text) => JSON.parse(text) as { action: string; after?: number });
    expect(joins?.filter(({ action }) => action === "joinRoom")).toHaveLength(2);
    expect(joins?.every(({ action, after }) => action !== "joinRoom" || after !== undefined)).toBe(true);
    await pass(3_100);
    expect(old?.closedWith).toBe(1000);
  });

  it("lets a request end on the old connection, and repeats it on the new one if it does not", async () => {
    const { room } = await fake.world.joined({ handoverAfterMs: 60_000, requestTimeoutMs: 30_000 });
    await pass(59_500);
    const [old] = fake.world.network.sockets;
    fake.world.server.script = (frame, peer) =>
      frame.action === "sendMessage" && peer === old ? "silence" : undefined;
    const sending = room.send("x");
    await pass(10_000);
    await sending;
    expect(fake.world.server.received("sendMessage").map(({ id }) => id)).toHaveLength(2);
    expect(fake.world.server.log("lobby").all).toHaveLength(1);
  });

  it("keeps the old connection as long as there is no new one", async () => {
    const { client, room } = await fake.world.joined({ handoverAfterMs: HOUR });
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    const seen = collect(room);
    await pass(HOUR - 1_000);
    // Slow, because there is no jitter here, and so no delay between attempts.
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true, latency: () => 1_000 };
    await pass(20_000);
    expect(errors.length).toBeGreaterThan(3);
    expect(new Set(errors)).toEqual(new Set(["connect_failed"]));
    fake.world.server.publish("lobby", [{ data: "still here" }]);
    await pass(4_000);
    expect(seen).toMatchObject([{ data: "still here" }]);
    expect(client.state).toBe("open");
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await pass(20_000);
    expect(fake.world.network.open).toHaveLength(1);
    expect(fake.world.network.sockets[0]?.closedWith).toBe(1000);
  });

  it("becomes a recovery when the old connection is lost meanwhile", async () => {
    const { client, room } = await fake.world.joined({ handoverAfterMs: 60_000 });
    const seen = collect(room);
    const changes: string[] = [];
    client.on("state", ({ state }) => changes.push(state));
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => 200 };
    await pass(60_100);
    fake.world.network.sockets[0]?.cut();
    fake.world.server.publish("lobby", [{ data: "between" }]);
    await pass(5_000);
    expect(changes).toEqual(["recovering", "open"]);
    expect(seen).toMatchObject([{ data: "between" }]);
    expect(fake.world.network.sockets).toHaveLength(2);
  });

  it("survives losing both connections", async () => {
    const { client, room } = await fake.world.joined({ handoverAfterMs: 60_000 });
    const seen = collect(room);
    await pass(60_020);
    for (const socket of fake.world.network.sockets) socket.cut();
    fake.world.server.publish("lobby", [{ data: "between" }]);
    await pass(5_000);
    expect(client.state).toBe("open");
    expect(room.status).toBe("joined");
    expect(seen).toMatchObject([{ data: "between" }]);
  });

  it("takes a room that is joined or left meanwhile along", async () => {
    const { client, room } = await fake.world.joined({ handoverAfterMs: 60_000 });
    await pass(60_000);
    const joining = client.room("late").join();
    const leaving = room.leave();
    await during(Promise.all([joining, leaving]));
    await pass(5_000);
    const [open] = fake.world.network.open;
    expect(fake.world.server.members("late")).toEqual([open]);
    expect(fake.world.server.members("lobby")).toEqual([]);
  });

  it("ends with close()", async () => {
    const { client, room } = await fake.world.joined({ handoverAfterMs: 60_000 });
    await pass(60_001);
    client.close();
    await pass(10_000);
    expect(fake.world.network.open).toHaveLength(0);
    expect(await failure(room.send(1))).toMatchObject({ code: "closed" });
  });
});

describe("a membership that was lost on the connection of a hand-over", () => {
  it("is put again within seconds, as after any join", async () => {
    const { server, network } = fake.world;
    const { client, room } = await fake.world.joined({ handoverAfterMs: 600_000 });
    await during(client.room("other").join());
    await pass(5_000);
    server.publish("lobby", [{ data: 0 }]);
    // The room has been silent for long, so that the server asks for a beat every nine minutes.
    await pass(550_000);
    let slow = 1;
    server.script = (frame, peer) => {
      if (frame.action !== "joinRoom" || frame.roomId !== "other" || slow-- <= 0) return undefined;
      setTimeout(() => {
        const text = server.handle(peer, JSON.stringify(frame));
        if (text !== undefined) (peer as unknown as { inject(text: string): void }).inject(text);
      }, 4_000);
      return "silence";
    };
    while (network.sockets.length < 2) await pass(100);
    await pass(50);
    const next = network.last;
    server.loseRow("lobby", next);
    // The other room settles, the new connection takes over, the old one is closed.
    await pass(15_000);
    expect(network.open).toEqual([next]);
    const seen = collect(room);
    server.publish("lobby", [{ data: 1 }]);
    await pass(60_000);
    expect(seen.map(({ data }) => data)).toEqual([0, 1]);
  });
});
