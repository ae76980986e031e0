import { describe, expect, it, vi } from "vitest";
import type { NetworkTarget } from "../../src/index.js";
import { during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

class Target implements NetworkTarget {
  readonly listeners = new Map<string, () => void>();
  visibilityState = "visible";

  addEventListener(event: string, listener: () => void): void {
    this.listeners.set(event, listener);
  }

  removeEventListener(event: string): void {
    this.listeners.delete(event);
  }

  fire(event: string): void {
    this.listeners.get(event)?.();
  }
}

/** A client whose connection was lost. It backs off, or its next attempts stall: they get no answer until `mend()`. */
async function offline(how: "backs off" | "stalls", networkTarget?: NetworkTarget) {
  const options = { reconnect: { base: 30_000, cap: 60_000 }, ...(networkTarget && { networkTarget }) };
  const client = await fake.world.connected(options);
  let bad = how === "stalls";
  fake.world.network.weather = { ...fake.world.network.weather, stalls: () => bad };
  fake.world.network.last.cut();
  const mend = () => {
    bad = false;
  };
  return { client, mend };
}

describe("a page that is seen again", () => {
  it("does not wait for the rest of a backoff", async () => {
    const page = new Target();
    vi.stubGlobal("document", page);
    const { client } = await offline("backs off");
    await pass(100);
    expect(client.state).toBe("recovering");
    page.fire("visibilitychange");
    await pass(20);
    expect(client.state).toBe("open");
  });

  it("does not wait for a handshake without an answer", async () => {
    const page = new Target();
    vi.stubGlobal("document", page);
    const { client, mend } = await offline("stalls");
    await pass(18_000);
    expect(fake.world.network.sockets).toHaveLength(2);
    mend();
    page.fire("visibilitychange");
    await pass(100);
    expect(client.state).toBe("open");
  });
});

describe("the network target", () => {
  it("tells of the network where the global object does not", async () => {
    const target = new Target();
    const { client } = await offline("backs off", target);
    await pass(100);
    target.fire("online");
    await pass(20);
    expect(client.state).toBe("open");
    client.close();
    expect(target.listeners.size).toBe(0);
  });

  it("ends a handshake that stalled before the network came back", async () => {
    const target = new Target();
    const { client, mend } = await offline("stalls", target);
    await pass(18_000);
    mend();
    target.fire("online");
    await pass(100);
    expect(client.state).toBe("open");
  });

  it("does not end a handshake that has only begun", async () => {
    const target = new Target();
    const { client } = await offline("backs off", target);
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => 500 };
    await pass(15_100);
    const { length } = fake.world.network.sockets;
    target.fire("online");
    await pass(1_000);
    expect(fake.world.network.sockets).toHaveLength(length);
    expect(client.state).toBe("open");
  });
});

describe("a connection in doubt", () => {
  it("is checked once while the check has no answer, without spinning", async () => {
    const target = new Target();
    await fake.world.joined({ networkTarget: target });
    await pass(5_000);
    fake.world.server.script = ({ action }) => (action === "sync" ? "silence" : undefined);
    const before = fake.world.server.received("sync").length;
    target.fire("offline");
    await pass(100);
    const timers = vi.spyOn(globalThis, "setTimeout");
    target.fire("offline");
    await pass(5_000);
    expect(fake.world.server.received("sync")).toHaveLength(before + 1);
    expect(timers.mock.calls.length).toBeLessThan(10);
  });

  it("is checked when the server lets it, if syncs must wait", async () => {
    const target = new Target();
    const { client } = await fake.world.joined({ networkTarget: target });
    await pass(5_000);
    fake.world.server.script = ({ action }) =>
      action === "sync" ? { code: "rate_limited", retryAfterMs: 60_000 } : undefined;
    target.fire("offline");
    await pass(1_000);
    await during(client.room("lobby").leave());
    const before = fake.world.server.received("sync").length;
    target.fire("offline");
    await pass(50_000);
    expect(fake.world.server.received("sync")).toHaveLength(before);
    await pass(15_000);
    expect(fake.world.server.received("sync")).toHaveLength(before + 1);
  });
});

describe("a device that slept", () => {
  it("counts the time, although performance.now() stood still", async () => {
    const page = new Target();
    vi.stubGlobal("document", page);
    fake.world.server.retentionSeconds = 3_600;
    const { room } = await fake.world.joined();
    const told: unknown[] = [];
    room.on("truncated", ({ certain }) => told.push(certain));
    await pass(5_000);
    // Two hours of sleep: timers and the monotonic clock stop, the wall clock does not.
    const before = performance.now();
    fake.world.network.last.freeze();
    fake.world.server.publish("lobby", [{ data: "missed" }]);
    vi.setSystemTime(Date.now() + 7_200_000);
    expect(performance.now()).toBe(before);
    fake.world.server.log("lobby").expireBefore(Date.now() - 3_600_000);
    fake.world.server.publish("lobby", [{ data: "retained" }]);
    page.fire("visibilitychange");
    await pass(30_000);
    expect(room.status).toBe("joined");
    expect(told).toEqual([false]);
  });

  it("sends no message whose time is over: the server may have forgotten its id", async () => {
    const { server, network } = fake.world;
    const { client, room } = await fake.world.joined();
    // The first message gets through, the reply does not. The second waits for it.
    network.weather = { ...network.weather, losesReply: () => true };
    const sending = [failure(room.send(1)), failure(room.send(2))];
    await pass(100);
    network.last.cut();
    network.weather = { ...network.weather, losesReply: () => false };
    vi.setSystemTime(Date.now() + 600_000);
    const errors = await Promise.all(sending);
    for (const error of errors) expect(error).toMatchObject({ code: "timeout", retryable: true });
    expect(errors[1]?.message).toBe("not sent within 30000 ms");
    await pass(5_000);
    expect([client.state, server.received("sendMessage").map(({ data }) => data)]).toEqual(["open", [1]]);
  });
});
