import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Roomcast, RoomcastOptions, TokenRequest } from "../../src/index.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** The calls of the token provider. */
let requests: TokenRequest[];
beforeEach(() => {
  requests = [];
});

/** A provider of fresh tokens. */
function fresh(ms: number): RoomcastOptions["token"] {
  return provider(() => fake.world.server.issue("alice", ms));
}

function provider(token: () => string): RoomcastOptions["token"] {
  return (request) => {
    requests.push(request);
    return token();
  };
}

function states(client: Roomcast): string[] {
  const seen: string[] = [];
  client.on("state", ({ state }) => seen.push(state));
  return seen;
}

/** Beginnings of the connections, in seconds since the first. */
function dials(): number[] {
  const [first] = fake.world.network.sockets;
  return fake.world.network.sockets.map(({ openedAt }) => Math.round((openedAt - (first?.openedAt ?? 0)) / 1_000));
}

describe("a token that expires", () => {
  it.each([
    // Three quarters of its time, or two minutes before its end; a twentieth earlier by the jitter of these tests.
    [MINUTE, 60_000 * 0.75 * 0.95],
    [5 * MINUTE, 300_000 * 0.75 * 0.95],
    [HOUR, (3_600_000 - 120_000) * 0.95],
  ])("in %i ms is replaced after %i, and nobody notices", async (ms, renewedAfter) => {
    const { server, network } = fake.world;
    const { client, room } = await fake.world.joined({ token: fresh(ms) });
    await during(client.room("other").join());
    const changes = states(client);
    const seen = collect(room);
    const count = Math.ceil((5.5 * renewedAfter) / 10_000);
    for (let n = 0; n < count; n++) {
      server.publish("lobby", [{ data: n }]);
      await pass(10_000);
    }
    const late = dials().map((at, n) => at - (n * renewedAfter) / 1_000);
    expect(late).toHaveLength(6);
    expect(Math.max(...late.map(Math.abs))).toBeLessThan(1);
    expect(network.open).toHaveLength(1);
    expect(changes).toEqual([]);
    expect(seen.map(({ data, recovered }) => (recovered ? "late" : data))).toEqual(
      Array.from({ length: count }, (_, n) => n),
    );
    expect(server.expired).toEqual([]);
    expect(requests).toEqual([false, true, true, true, true, true].map((refused) => ({ refused })));
  });

  it("after API Gateway's two hours changes nothing", async () => {
    const { room } = await fake.world.joined({ token: fresh(3 * HOUR) });
    await pass(230 * MINUTE);
    expect(room.status).toBe("joined");
    expect(dials().map((at) => Math.round(at / 60))).toEqual([0, 105, 209]);
    expect(requests).toEqual([{ refused: false }, { refused: true }, { refused: true }]);
  });

  it("is replaced at different times by clients that fetched theirs together", async () => {
    const times: (number | undefined)[] = [];
    for (const jitter of [0, 0.999]) {
      vi.spyOn(Math, "random").mockReturnValue(jitter);
      const { client } = await fake.world.joined({ token: fresh(MINUTE) });
      const before = fake.world.network.sockets.length;
      const start = Date.now();
      while (fake.world.network.sockets.length === before) await pass(100);
      times.push(Math.round((Date.now() - start) / 1_000));
      client.close();
    }
    expect(times).toEqual([45, 41]);
  });

  it("is counted from when the frame was sent, not from when its answer came", async () => {
    const { network } = fake.world;
    network.weather = { ...network.weather, latency: () => 4_000 };
    await fake.world.joined({ token: fresh(2 * MINUTE) });
    while (network.sockets.length < 2) await pass(100);
    // 116 s were left when the first `joinRoom` was sent, and 112 s when it came.
    expect(network.last.openedAt - (network.sockets[0]?.openedAt ?? 0)).toBeLessThanOrEqual(
      4_000 + 116_000 * 0.75 * 0.95 + 200,
    );
  });

  it("is renewed as soon as the provider can, while the old connection lives", async () => {
    let works = true;
    const token = provider(() => {
      if (!works) throw new Error("503");
      return fake.world.server.issue("alice", 5 * MINUTE);
    });
    const { client } = await fake.world.joined({ token });
    const changes = states(client);
    works = false;
    await pass(240_000);
    expect(requests.length).toBeGreaterThan(3);
    expect(requests.length).toBeLessThan(12);
    works = true;
    await pass(35_000);
    expect(dials()).toHaveLength(2);
    await pass(30_000);
    expect(changes).toEqual([]);
    expect(fake.world.server.expired).toEqual([]);
  });

  it("is renewed in time also by a provider that fails twice, each time", async () => {
    let calls = 0;
    const token = provider(() => {
      if (calls++ % 3 > 0) throw new Error("503");
      return fake.world.server.issue("alice", MINUTE);
    });
    const { client } = await fake.world.joined({ token });
    const changes = states(client);
    await pass(30 * MINUTE);
    expect(changes).toEqual([]);
    expect(dials().length).toBeGreaterThan(30);
  });

  it("ends the connection when there is no other in time, without a frame", async () => {
    let works = true;
    const token = provider(() => {
      if (!works) throw new Error("503");
      return fake.world.server.issue("alice", 5 * MINUTE);
    });
    const { client, room } = await fake.world.joined({ token });
    const seen = collect(room);
    works = false;
    await pass(299_000);
    expect(client.state).toBe("open");
    await pass(2_000);
    expect(client.state).toBe("recovering");
    fake.world.server.publish("lobby", [{ data: "meanwhile" }]);
    works = true;
    await pass(31_000);
    expect(client.state).toBe("open");
    expect(seen.map(({ data }) => data)).toEqual(["meanwhile"]);
    expect(fake.world.server.expired).toEqual([]);
  });
});

describe("a token provider that is of no help", () => {
  it("and gives the same token again causes five hand-overs at most, and then a backoff", async () => {
    for (const ms of [MINUTE, 10 * MINUTE, 100 * MINUTE]) {
      const before = fake.world.network.sockets.length;
      const token = fake.world.server.issue("alice", ms);
      const { client } = await fake.world.joined({ token: provider(() => token) });
      await pass(ms - 1_000);
      expect(client.state).toBe("open");
      expect(fake.world.network.sockets.length - before).toBeLessThanOrEqual(1 + 5);
      const during = fake.world.network.sockets.length;
      await pass(10 * MINUTE);
      expect(client.state).toBe("recovering");
      // Half of 0.5, 1, 2, 4 ... 30 s lie between two attempts.
      expect(fake.world.network.sockets.length - during).toBeLessThan(50);
      client.close();
    }
    expect(requests.at(-1)).toEqual({ refused: true });
  });

  it.each([0, 1_000, 10_000, 19_000])(
    "and gives tokens of %i ms causes no more connections than a server that fails",
    async (ms) => {
      const client = fake.world.client({ token: fresh(ms + 1) });
      void client.connect();
      void client.room("lobby").join();
      await pass(10 * MINUTE);
      expect(dials().length).toBeLessThan(50);
      expect(fake.world.server.received("joinRoom").length).toBeLessThan(50);
    },
  );

  it("and gives tokens of 20 s causes a connection for each", async () => {
    await fake.world.joined({ token: fresh(20_100) });
    await pass(10 * MINUTE);
    expect(dials().length).toBeLessThan(600 / 13.5);
    expect(fake.world.server.expired).toEqual([]);
  });

  it("because it is a fixed token is not asked for another, and a JWT ends the client with its time", async () => {
    const claims = { sub: "alice", exp: (Date.now() + 5 * MINUTE) / 1_000 };
    const jwt = `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
    fake.world.server.expiries.set(jwt, claims.exp * 1_000);
    const { client, room } = await fake.world.joined({ token: jwt });
    const errors: string[] = [];
    client.on("error", ({ code, message }) => errors.push(`${code}: ${message}`));
    await pass(299_000);
    expect([client.state, dials()]).toEqual(["open", [0]]);
    await pass(5_000);
    expect(client.state).toBe("closed");
    expect(room.status).toBe("left");
    // The device's clock may be wrong as long as the token is not refused.
    expect(errors.map((error) => error.replace(/ \(.*/, ""))).toEqual([
      "connect_failed: the WebSocket could not be opened",
      "token_failed: the token has expired",
    ]);
    expect(dials()).toEqual([0, 300]);
  });
});

describe("an answer that the token has expired", () => {
  beforeEach(() => {
    // The expiry is not told, as to an application that has joined no room.
    fake.world.server.expiry.hint = false;
  });

  it.each([
    ["and a closed connection", true],
    ["is not there, only a closed connection", false],
  ])("to a message %s lets it be sent again, with its id", async (_, reason) => {
    const { server } = fake.world;
    server.expiry.reason = reason;
    const { client, room } = await fake.world.joined({ token: fresh(MINUTE) });
    const changes = states(client);
    await pass(70_000);
    const { id } = await during(room.send("x"));
    expect(server.received("sendMessage").map((frame) => frame["id"])).toEqual([id, id]);
    expect(server.expired).toHaveLength(1);
    await pass(1_000);
    expect(changes).toEqual(["recovering", "open"]);
    expect(requests).toEqual([{ refused: false }, { refused: reason }]);
    expect(server.log("lobby").all).toHaveLength(1);
  });

  it("is waited for by nobody: what else is under way goes on at once", async () => {
    const { server, network } = fake.world;
    const { client, room } = await fake.world.joined({ token: fresh(MINUTE) });
    await pass(70_000);
    const other = client.room("other");
    const left: string[] = [];
    for (const each of [room, other]) each.on("left", ({ error }) => left.push(`${each.id} ${error?.code}`));
    const calls = [room.send(1), other.send(2), room.history(), other.join()];
    await during(Promise.all(calls));
    expect(left).toEqual([]);
    expect([room.status, other.status]).toEqual(["joined", "joined"]);
    expect(server.expired).toHaveLength(4);
    expect(network.sockets).toHaveLength(2);
  });

  it("to a beat leaves no room, and loses nothing", async () => {
    const { server } = fake.world;
    server.syncAfterMs = () => 70_000;
    const { client, room } = await fake.world.joined({ token: fresh(MINUTE) });
    const seen = collect(room);
    await pass(69_000);
    server.log("lobby").append([{ id: "lost", from: "x", data: "lost" }]);
    await pass(10_000);
    expect(server.expired.map(({ action }) => action)).toEqual(["sync"]);
    expect([client.state, room.status]).toEqual(["open", "joined"]);
    expect(seen.map(({ data }) => data)).toEqual(["lost"]);
  });

  it("to a leave is as good as having left", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined({ token: fresh(MINUTE) });
    await pass(70_000);
    await during(room.leave());
    await pass(5_000);
    expect(server.members("lobby")).toEqual([]);
  });

  it("is no reason to go on with a room that is forbidden all the same", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined({ token: fresh(MINUTE) });
    await pass(70_000);
    server.forbidden.add("lobby");
    const left = new Promise<string | undefined>((resolve) => room.once("left", ({ error }) => resolve(error?.code)));
    await during(room.send("x"));
    expect(await during(left)).toBe("forbidden");
    expect(await failure(room.join())).toMatchObject({ code: "forbidden" });
  });
});
