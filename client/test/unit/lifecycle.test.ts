import { describe, expect, it, vi } from "vitest";
import type { Roomcast, RoomcastError, StateChange, TokenRequest } from "../../src/index.js";
import { during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

function states(client: Roomcast): string[] {
  const seen: string[] = [];
  client.on("state", ({ previous, state }: StateChange) => seen.push(`${previous}>${state}`));
  return seen;
}

function errors(client: Roomcast): RoomcastError[] {
  const seen: RoomcastError[] = [];
  client.on("error", (error) => seen.push(error));
  return seen;
}

describe("connecting", () => {
  it("goes from closed through connecting to open, and back to closed", async () => {
    const client = fake.world.client();
    const seen = states(client);
    expect(client.state).toBe("closed");
    await during(client.connect());
    expect(client.state).toBe("open");
    client.close();
    expect(seen).toEqual(["closed>connecting", "connecting>open", "open>closed"]);
    expect(fake.world.network.last.closedWith).toBe(1000);
    await pass(5);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is idempotent", async () => {
    const client = fake.world.client();
    expect(client.connect()).toBe(client.connect());
    await during(client.connect());
    await client.connect();
    expect(fake.world.network.sockets).toHaveLength(1);
  });

  it("sends the token in the query, beside what is there", async () => {
    await fake.world.connected({ url: "wss://host/prod?x=1", token: () => Promise.resolve("a+b") });
    const { url } = fake.world.network.last;
    expect(url.searchParams.get("token")).toBe("a+b");
    expect(url.searchParams.get("x")).toBe("1");
  });

  it("replaces a token that is in the address, and needs no more of URL than old React Natives have", async () => {
    const { URL } = globalThis;
    vi.stubGlobal("URL", undefined);
    const client = fake.world.client({ url: "wss://host/prod?token=old&x=1#fragment", token: "new" });
    vi.stubGlobal("URL", URL);
    await during(client.connect());
    expect(fake.world.network.last.url.href).toBe("wss://host/prod?x=1&token=new");
  });

  it("names every bad option at once", () => {
    const bad = {
      url: "https://host",
      token: 7 as unknown as string,
      syncIntervalMs: 600_000,
      reconnect: { base: -1 },
    };
    expect(() => fake.world.client(bad)).toThrowError(/token.*; url.*; syncIntervalMs.*; reconnect/);
  });

  it("says what to do where there is no WebSocket", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const { Roomcast } = await import("../../src/index.js");
    const client = new Roomcast({ url: "ws://fake", token: "t" });
    const error = await failure(client.connect());
    expect(error).toMatchObject({ code: "bad_request", retryable: false });
    expect(error.message).toMatch(/ws package/);
    expect(client.state).toBe("closed");
  });

  it("ends when the socket cannot even be created", async () => {
    const WebSocket = class {
      constructor() {
        throw new SyntaxError("insecure");
      }
    } as never;
    const client = fake.world.client({ WebSocket });
    expect(await failure(client.connect())).toMatchObject({ code: "connect_failed", retryable: false });
    expect(client.state).toBe("closed");
  });

  it("can be closed while it is connecting", async () => {
    const client = fake.world.client();
    const connecting = client.connect();
    await pass(1);
    client.close();
    expect(await failure(connecting)).toMatchObject({ code: "closed", retryable: false });
    await pass(60_000);
    expect(fake.world.network.sockets).toHaveLength(1);
    expect(fake.world.network.last.readyState).toBe(3);
    expect(client.state).toBe("closed");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("can be closed while it waits for a token, or to try again", async () => {
    const client = fake.world.client({ token: () => new Promise<string>(() => {}) });
    const connecting = client.connect();
    await pass(1);
    client.close();
    expect(await failure(connecting)).toMatchObject({ code: "closed" });
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    const other = fake.world.client();
    const waiting = other.connect();
    await pass(100);
    other.close();
    expect(await failure(waiting)).toMatchObject({ code: "closed" });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("connects anew after close()", async () => {
    const client = await fake.world.connected();
    client.close();
    await during(client.connect());
    expect(client.state).toBe("open");
    expect(fake.world.network.sockets).toHaveLength(2);
  });

  it("may be closed by a listener of its own state", async () => {
    const client = fake.world.client();
    client.on("state", ({ state }) => {
      if (state === "connecting") client.close();
    });
    expect(await failure(client.connect())).toMatchObject({ code: "closed" });
    await pass(1_000);
    expect(fake.world.network.sockets).toHaveLength(0);
  });

  it("gives up a handshake that gets no answer, and tries again", async () => {
    let stalls = true;
    fake.world.network.weather = { ...fake.world.network.weather, stalls: () => stalls };
    const client = fake.world.client({ connectTimeoutMs: 2_000 });
    const seen = errors(client);
    const connecting = client.connect();
    await pass(2_000);
    expect(seen).toMatchObject([{ code: "connect_failed", retryable: true }]);
    stalls = false;
    await during(connecting);
  });
});

describe("the token provider", () => {
  it("is called for each connection, and told when the last one was refused", async () => {
    const requests: TokenRequest[] = [];
    let refuses = true;
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => refuses };
    const client = fake.world.client({
      token: (request) => {
        requests.push(request);
        return "alice";
      },
    });
    const connecting = client.connect();
    await pass(6);
    refuses = false;
    await during(connecting);
    fake.world.network.last.cut();
    await pass(2_000);
    expect(requests).toEqual([{ refused: false }, { refused: true }, { refused: false }]);
  });

  it("is not told of a refusal when the handshake was ended on this side", async () => {
    const requests: TokenRequest[] = [];
    let stalls = true;
    fake.world.network.weather = { ...fake.world.network.weather, stalls: () => stalls };
    const token = (request: TokenRequest) => {
      requests.push(request);
      return "alice";
    };
    const client = fake.world.client({ token, connectTimeoutMs: 2_000 });
    void client.connect();
    await pass(100);
    client.close();
    void client.connect();
    await pass(2_500);
    stalls = false;
    await pass(3_000);
    expect(client.state).toBe("open");
    expect(requests.length).toBeGreaterThan(2);
    expect(requests.every(({ refused }) => !refused)).toBe(true);
  });

  it("that is a fixed token ends the client when it is refused and has expired", async () => {
    const jwt = (exp: number) => `h.${Buffer.from(JSON.stringify({ sub: "ö", exp })).toString("base64url")}.s`;
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    const expired = fake.world.client({ token: jwt(Date.now() / 1_000 - 1) });
    expect(await failure(expired.connect())).toMatchObject({ code: "token_failed", retryable: false });
    expect(expired.state).toBe("closed");
    for (const token of [jwt(Date.now() / 1_000 + 3_600), "opaque"]) {
      const valid = fake.world.client({ token });
      void valid.connect();
      await pass(60_000);
      expect(valid.state).toBe("connecting");
    }
    // The device's clock may be wrong as long as the token is not refused.
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await fake.world.connected({ token: jwt(1) });
  });

  it("may fail for a while", async () => {
    let failures = 3;
    const client = fake.world.client({
      token: () => {
        if (failures-- > 0) throw new Error("503");
        return "alice";
      },
    });
    const seen = errors(client);
    await during(client.connect());
    expect(seen).toHaveLength(3);
    expect(seen[0]).toMatchObject({ code: "token_failed", retryable: true });
    expect(seen[0]?.message).toContain("503");
  });

  it("ends the client with an error that is not retryable", async () => {
    const client = fake.world.client({
      token: () => Promise.reject(Object.assign(new Error("signed out"), { retryable: false })),
    });
    const seen = states(client);
    const error = await failure(client.connect());
    expect(error).toMatchObject({ code: "token_failed", retryable: false });
    expect(seen).toEqual(["closed>connecting", "connecting>closed"]);
    await pass(60_000);
    expect(fake.world.network.sockets).toHaveLength(0);
  });

  it("must return a token, in time", async () => {
    expect(await failure(fake.world.client({ token: () => "" }).connect())).toMatchObject({
      code: "token_failed",
      retryable: false,
    });
    const slow = fake.world.client({ token: () => new Promise<string>(() => {}), connectTimeoutMs: 1_000 });
    const seen = errors(slow);
    void slow.connect();
    await pass(1_000);
    expect(seen).toMatchObject([{ code: "token_failed", retryable: true }]);
  });
});

describe("reconnecting", () => {
  it("backs off exponentially, up to the cap, and starts anew after a good connection", async () => {
    const client = await fake.world.connected({ reconnect: { base: 1_000, cap: 8_000 } });
    await pass(70_000);
    let refuses = true;
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => 1, refuses: () => refuses };
    const attempts: number[] = [];
    client.on("error", () => attempts.push(Date.now()));
    const start = Date.now();
    fake.world.network.last.cut();
    expect(client.state).toBe("open");
    await pass(0);
    expect(client.state).toBe("recovering");
    await pass(20_000);
    const delays = attempts.map((at, index) => at - (attempts[index - 1] ?? start));
    // Half of 1, 2, 4, 8, 8, 8 seconds, and a millisecond to be refused.
    expect(delays.slice(0, 6)).toEqual([501, 1_001, 2_001, 4_001, 4_001, 4_001]);
    refuses = false;
    await pass(6_000);
    expect(client.state).toBe("open");
    // Longer than a beat and its reply may take.
    await pass(70_000);
    fake.world.network.last.cut();
    await pass(600);
    expect(client.state).toBe("open");
  });

  it("keeps backing off while connections do not last", async () => {
    await fake.world.connected({ reconnect: { base: 100, cap: 60_000 } });
    const opened: number[] = [];
    for (let n = 0; n < 6; n++) {
      const before = fake.world.network.sockets.length;
      const start = Date.now();
      fake.world.network.last.cut();
      while (fake.world.network.sockets.length === before) await pass(1);
      opened.push(Date.now() - start);
      await pass(20);
    }
    expect(opened).toEqual([...opened].sort((a, b) => a - b));
    expect(opened.at(-1)).toBeGreaterThan(1_000);
  });

  it.each([1000, 1001, 1006, 1011, 1012])("reconnects after close code %i", async (code) => {
    const client = await fake.world.connected();
    const changes: StateChange[] = [];
    client.on("state", (change) => changes.push(change));
    fake.world.network.last.cut(code);
    await pass(5_000);
    expect(changes.map(({ state }) => state)).toEqual(["recovering", "open"]);
    expect(changes[0]?.error).toMatchObject({ code: "disconnected", retryable: true });
    expect(changes[0]?.error?.message).toContain(String(code));
  });

  it("is open again only when every room has what it missed", async () => {
    const { client } = await fake.world.joined();
    fake.world.network.last.cut();
    fake.world.server.publish(
      "lobby",
      Array.from({ length: 7 }, (_, n) => ({ data: n })),
    );
    fake.world.server.pageSize = 2;
    const room = client.room("lobby");
    const order: string[] = [];
    client.on("state", ({ state }) => order.push(state));
    room.on("message", ({ data }) => order.push(String(data)));
    await pass(5_000);
    expect(order).toEqual(["recovering", "0", "1", "2", "3", "4", "5", "6", "open"]);
  });
});

describe("what the browser says about the network", () => {
  it("cuts a backoff short when the device is online again", async () => {
    const listeners = new Map<string, () => void>();
    vi.stubGlobal("addEventListener", (event: string, listener: () => void) => listeners.set(event, listener));
    vi.stubGlobal("removeEventListener", (event: string) => listeners.delete(event));
    const client = await fake.world.connected({ reconnect: { base: 30_000, cap: 60_000 } });
    fake.world.network.last.cut();
    await pass(100);
    listeners.get("online")?.();
    await pass(20);
    expect(client.state).toBe("open");
    client.close();
    expect(listeners.size).toBe(0);
  });

  it("checks the connection when the device goes offline, or the page comes back", async () => {
    const listeners = new Map<string, () => void>();
    const add = (event: string, listener: () => void) => listeners.set(event, listener);
    vi.stubGlobal("addEventListener", add);
    vi.stubGlobal("document", { addEventListener: add, visibilityState: "visible" });
    const client = await fake.world.connected({ syncTimeoutMs: 3_000 });
    listeners.get("visibilitychange")?.();
    await pass(20);
    expect(fake.world.server.received("sync")).toHaveLength(1);
    expect(client.state).toBe("open");
    fake.world.network.last.freeze();
    listeners.get("offline")?.();
    await pass(3_000);
    expect(client.state).toBe("recovering");
  });
});
