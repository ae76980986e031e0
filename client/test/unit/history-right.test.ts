import { beforeEach, describe, expect, it } from "vitest";
import type { Room, RoomEvents } from "../../src/index.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** The `after` of each `joinRoom` since `from`. */
function afters(from = 0): unknown[] {
  return fake.world.server
    .received("joinRoom")
    .slice(from)
    .map((frame) => frame["after"]);
}

function truncations(room: Room): RoomEvents["truncated"][] {
  const seen: RoomEvents["truncated"][] = [];
  room.on("truncated", (hole) => seen.push(hole));
  return seen;
}

describe("a room whose log may not be read", () => {
  beforeEach(() => void fake.world.server.withoutHistory.add("lobby"));

  it("goes on after a lost connection, and says that messages are missing", async () => {
    const { server, network } = fake.world;
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const holes = truncations(room);
    const errors: string[] = [];
    room.on("error", ({ code }) => errors.push(code));
    const [first] = server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    network.last.cut();
    const lost = server.publish("lobby", [{ data: 2 }, { data: 3 }]);
    await pass(5_000);
    expect(client.state).toBe("open");
    expect(room.status).toBe("joined");
    expect(holes).toEqual([{ after: first?.seq, seq: 0, certain: true }]);
    expect(room.seq).toBe(lost.at(-1)?.seq);
    server.publish("lobby", [{ data: 4 }]);
    await pass(1_000);
    expect(seen.map(({ data }) => data)).toEqual([1, 4]);
    expect(errors).toEqual([]);
    expect(afters()).toEqual([undefined, first?.seq, undefined]);
  });

  it("is joined without `after` at once the next time", async () => {
    const { network } = fake.world;
    const { room } = await fake.world.joined();
    for (let n = 0; n < 3; n++) {
      await pass(70_000);
      network.last.cut();
      await pass(5_000);
    }
    expect(room.status).toBe("joined");
    expect(afters()).toHaveLength(5);
    expect(afters(2)).toEqual([undefined, undefined, undefined]);
  });

  it("says nothing when nothing is missing", async () => {
    const { room } = await fake.world.joined();
    const holes = truncations(room);
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    fake.world.network.last.cut();
    await pass(120_000);
    fake.world.server.publish("lobby", [{ data: 2 }]);
    await pass(1_000);
    expect(holes).toEqual([]);
    expect(seen.map(({ data }) => data)).toEqual([1, 2]);
  });

  it("loses nothing in a hand-over", async () => {
    const { server, network } = fake.world;
    network.weather = { ...network.weather, latency: () => 40 };
    const { room } = await fake.world.joined({ handoverAfterMs: 60_000 });
    const seen = collect(room);
    const holes = truncations(room);
    for (let n = 0; n < 1_300; n++) {
      server.publish("lobby", [{ data: n }]);
      await pass(100);
    }
    expect(network.sockets.length).toBeGreaterThan(2);
    await pass(5_000);
    expect(seen.map(({ data }) => data)).toEqual(Array.from({ length: 1_300 }, (_, n) => n));
    expect(holes).toEqual([]);
  });

  it("goes on after close() and connect()", async () => {
    const { server } = fake.world;
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const holes = truncations(room);
    const [first] = server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    client.close();
    server.publish("lobby", [{ data: 2 }]);
    await pass(5_000);
    await during(client.connect());
    await pass(5_000);
    server.publish("lobby", [{ data: 3 }]);
    await pass(1_000);
    expect(room.status).toBe("joined");
    expect(seen.map(({ data }) => data)).toEqual([1, 3]);
    expect(holes).toEqual([{ after: first?.seq, seq: 0, certain: true }]);
  });

  it("is refused to an application that says from where", async () => {
    const client = await fake.world.connected();
    for (const after of [0, 7]) {
      expect(await failure(client.room("lobby").join({ after }))).toMatchObject({
        code: "forbidden",
        retryable: false,
      });
    }
    expect(client.room("lobby").status).toBe("left");
    await during(client.room("lobby").join());
    expect(afters()).toEqual([0, 7, undefined]);
  });

  it("is refused to an application that said from where, also when it was closed before the answer", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    void room.join({ after: 7 });
    await pass(1);
    client.close();
    await during(client.connect());
    await pass(1_000);
    expect(room.status).toBe("left");
    expect(new Set(afters())).toEqual(new Set([7]));
  });

  it("is left when it may not be joined at all", async () => {
    const { client, room } = await fake.world.joined();
    await pass(5_000);
    fake.world.server.forbidden.add("lobby");
    const before = afters().length;
    fake.world.network.last.cut();
    await pass(30_000);
    expect(client.state).toBe("open");
    expect(room.status).toBe("left");
    expect(afters(before)).toHaveLength(2);
  });
});
