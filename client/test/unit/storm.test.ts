import { describe, expect, it, vi } from "vitest";
import type { Roomcast } from "../../src/index.js";
import type { Script } from "../support/peer.js";
import { Random } from "../support/random.js";
import { collect, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const ROOMS = 20;
const MINUTES = 10;

/** Bounds of the README for ten minutes, besides one join of each room and the look at the log that confirms it. */
const CONNECTIONS = 40;
const FRAMES = 200;

async function joinAll(client: Roomcast): Promise<void> {
  const joins = Array.from({ length: ROOMS }, (_, n) => client.room(`room-${n}`).join());
  await during(Promise.all(joins));
}

/** Ten minutes in which the session routes answer as `script` says, while broadcasts arrive or not. */
async function storm(
  script: Script,
  broadcasts: boolean,
  seed: number,
): Promise<{ connections: number; joins: number; syncs: number }> {
  const { server, network } = fake.world;
  const client = await fake.world.connected();
  await joinAll(client);
  await pass(120_000);
  const random = new Random(seed);
  vi.spyOn(Math, "random").mockImplementation(random.next);
  const before = {
    connections: network.sockets.length,
    joins: server.received("joinRoom").length,
    syncs: server.received("sync").length,
  };
  server.script = script;
  // The connection is cut, so that the client has to connect and join in the storm.
  network.last.cut();
  for (let second = 0; second < MINUTES * 60; second++) {
    if (broadcasts)
      for (const socket of network.open)
        socket.inject('{"type":"messages","roomId":"room-0","messages":[],"after":1,"seq":2}');
    await pass(1_000);
  }
  const counted = {
    connections: network.sockets.length - before.connections,
    joins: server.received("joinRoom").length - before.joins,
    syncs: server.received("sync").length - before.syncs,
  };
  server.script = () => undefined;
  // Well again: every room is back within the longest backoffs.
  await pass(70_000);
  expect(client.state).toBe("open");
  for (let n = 0; n < ROOMS; n++) expect(client.room(`room-${n}`).status).toBe("joined");
  return counted;
}

const session = ["joinRoom", "leaveRoom", "sync", "getHistory"];
const unanswered: Script = (frame) => (session.includes(frame.action) ? "silence" : undefined);
const throttled: Script = (frame) => (session.includes(frame.action) ? { code: "rate_limited" } : undefined);
const patient: Script = (frame) =>
  session.includes(frame.action) ? { code: "rate_limited", retryAfterMs: 5_000 } : undefined;

/** API Gateway throttles: its frame names no request. */
const gateway: Script = (frame, peer) => {
  if (!session.includes(frame.action)) return undefined;
  const text = JSON.stringify({ message: "Too Many Requests", connectionId: "c=", requestId: "aws" });
  (peer as unknown as { inject(text: string): void }).inject(text);
  return "silence";
};

/** Answers so late that a first attempt has given up. */
function slow(ms: number): Script {
  return (frame, peer) => {
    if (!session.includes(frame.action)) return undefined;
    setTimeout(() => {
      const script = fake.world.server.script;
      fake.world.server.script = () => undefined;
      const reply = fake.world.server.handle(peer, JSON.stringify(frame));
      fake.world.server.frames.pop();
      fake.world.server.script = script;
      if (reply !== undefined) (peer as unknown as { inject(text: string): void }).inject(reply);
    }, ms);
    return "silence";
  };
}

describe("ten bad minutes of the session routes", () => {
  const cases: [string, Script, boolean][] = [
    ["unanswered", unanswered, false],
    ["unanswered, while broadcasts arrive", unanswered, true],
    ["throttled", throttled, true],
    ["throttled with a wait", patient, true],
    ["throttled by API Gateway, which names no request", gateway, true],
    ["answered after 12 seconds", slow(12_000), false],
    ["answered after 25 seconds", slow(25_000), false],
  ];

  it.each(cases)(
    "cost a client a bounded number of connections and joins: %s",
    async (_, script, broadcasts) => {
      for (const seed of [1, 2, 3]) {
        const { connections, joins, syncs } = await storm(script, broadcasts, seed);
        expect(connections).toBeLessThanOrEqual(CONNECTIONS);
        expect(joins).toBeLessThanOrEqual(FRAMES + ROOMS);
        expect(syncs).toBeLessThanOrEqual(FRAMES + ROOMS);
        fake.world.closeAll();
      }
    },
    60_000,
  );

  it("cost one connection, when broadcasts show that it is alive", async () => {
    const { connections } = await storm(unanswered, true, 1);
    expect(connections).toBe(1);
  });
});

describe("an answer that says when to try again", () => {
  it.each(["joinRoom", "sync", "sendMessage"])("is respected by %s", async (action) => {
    const { client, room } = await fake.world.joined();
    await pass(2_000);
    const times: number[] = [];
    let refusals = 2;
    fake.world.server.script = (frame) => {
      if (frame.action !== action) return undefined;
      times.push(Date.now());
      return refusals-- > 0 ? { code: "rate_limited", retryAfterMs: 7_000 } : undefined;
    };
    void client.room("other").join();
    void room.send("x");
    await pass(60_000);
    const [first = 0, second = 0, third = 0] = times;
    expect(second - first).toBeGreaterThanOrEqual(7_000);
    expect(third - second).toBeGreaterThanOrEqual(7_000);
  });

  it("without a request id is taken for all of them", async () => {
    const client = await fake.world.connected({ requestTimeoutMs: 20_000 });
    const sends = [1, 2, 3].map((n) => client.room(`room-${n}`).send(n));
    let throttles = true;
    fake.world.server.script = () => (throttles ? "silence" : undefined);
    await pass(50);
    throttles = false;
    fake.world.network.last.inject(
      JSON.stringify({ message: "Too Many Requests", connectionId: "c=", requestId: "aws" }),
    );
    const start = Date.now();
    await during(Promise.all(sends));
    expect(Date.now() - start).toBeLessThan(1_000);
  });
});

describe("a connection on which broadcasts arrive", () => {
  it("is not dropped because a beat is not answered", async () => {
    const { client } = await fake.world.joined();
    await pass(2_000);
    fake.world.server.script = (frame) => (frame.action === "sync" ? "silence" : undefined);
    for (let second = 0; second < 300; second++) {
      fake.world.server.publish("lobby", [{ data: second }]);
      await pass(1_000);
    }
    await pass(300);
    expect(client.state).toBe("open");
    expect(fake.world.network.sockets).toHaveLength(1);
  });
});

describe("a request without a reply", () => {
  it("is a reason to look whether the connection lives only if nothing else comes in", async () => {
    const { client } = await fake.world.joined();
    await pass(2_000);
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? "silence" : undefined);
    void client.room("other").join();
    const before = fake.world.server.received("sync").length;
    await pass(5_000);
    fake.world.network.last.inject(JSON.stringify({ type: "later version" }));
    await pass(6_000);
    expect(fake.world.server.received("sync")).toHaveLength(before);
    // The next attempt gets 20 seconds.
    await pass(25_000);
    expect(fake.world.server.received("sync").slice(before)).toMatchObject([{ rooms: {} }]);
    expect(client.state).toBe("open");
  });

  it("of a join or a leave drops a half-open connection within half a minute", async () => {
    const { client, room } = await fake.world.joined();
    await pass(2_000);
    fake.world.network.last.freeze();
    void room.leave();
    await pass(25_000);
    expect(fake.world.network.sockets).toHaveLength(2);
    expect(client.state).toBe("open");
    fake.world.network.last.freeze();
    void client.room("other").join();
    await pass(25_000);
    expect(fake.world.network.sockets).toHaveLength(3);
    expect(client.room("other").status).toBe("joined");
  });

  it("drops a half-open connection also while syncs must wait", async () => {
    const { room } = await fake.world.joined();
    await pass(5_000);
    fake.world.server.script = ({ action }) =>
      action === "sync" ? { code: "rate_limited", retryAfterMs: 300_000 } : undefined;
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(40_000);
    expect(fake.world.server.received("sync").length).toBeGreaterThan(0);
    fake.world.network.last.freeze();
    void room.leave();
    await pass(25_000);
    expect(fake.world.network.sockets).toHaveLength(2);
  });
});

describe("connections that live for less than a beat and its answer", () => {
  it("do not let the backoff start anew", async () => {
    await fake.world.connected({ reconnect: { base: 100, cap: 60_000 } });
    const waits: number[] = [];
    for (let n = 0; n < 8; n++) {
      await pass(60_000);
      const { length } = fake.world.network.sockets;
      const start = Date.now();
      fake.world.network.last.cut();
      while (fake.world.network.sockets.length === length) await pass(10);
      waits.push(Date.now() - start);
    }
    expect(waits.at(-1)).toBeGreaterThan(5_000);
  });
});

describe("a socket whose send() throws while it is closing", () => {
  it("is given up, and the call is made again on the next connection", async () => {
    const { client, room } = await fake.world.joined();
    const [socket] = fake.world.network.sockets;
    let sends = 0;
    vi.spyOn(socket as never as { send(): void }, "send").mockImplementation(() => {
      // An endless loop of attempts must not hang the test.
      if (sends++ > 50) return;
      throw new Error("CLOSING");
    });
    await during(room.send("x"));
    expect(sends).toBe(1);
    expect(client.state).toBe("open");
    expect(fake.world.server.log("lobby").all).toHaveLength(1);
  });
});

describe("a wait that the server asks for", () => {
  it("of thirty years after a sync neither spins nor makes the client deaf for ever", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    await pass(5_000);
    let refusals = 1;
    fake.world.server.script = ({ action }) =>
      action === "sync" && refusals-- > 0 ? { code: "rate_limited", retryAfterMs: 1e12 } : undefined;
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(40_000);
    const timers = vi.spyOn(globalThis, "setTimeout");
    await pass(10_000);
    expect(timers.mock.calls.length).toBeLessThan(100);
    const lost = fake.world.server.log("lobby").append([{ id: "lost", from: "x", data: "lost" }]);
    expect(lost).toHaveLength(1);
    await pass(1_200_000);
    expect(seen.map(({ data }) => data)).toEqual([1, "lost"]);
  });

  it("of thirty years after a join does not keep all rooms out for ever", async () => {
    const client = await fake.world.connected();
    let refusals = 1;
    fake.world.server.script = ({ action }) =>
      action === "joinRoom" && refusals-- > 0 ? { code: "rate_limited", retryAfterMs: 1e12 } : undefined;
    void client.room("one").join();
    await pass(1_000);
    const timers = vi.spyOn(globalThis, "setTimeout");
    void client.room("two").join();
    await pass(10_000);
    expect(timers.mock.calls.length).toBeLessThan(100);
    await pass(1_200_000);
    expect(client.room("two").status).toBe("joined");
  });
});
