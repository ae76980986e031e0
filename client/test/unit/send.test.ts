import { describe, expect, it, vi } from "vitest";
import { Random } from "../support/random.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

function sentIds(): unknown[] {
  return fake.world.server.received("sendMessage").map((frame) => frame["id"]);
}

describe("send", () => {
  it("resolves when the message is accepted", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    expect(await during(room.send({ text: "hi" }, { id: "one", key: "k", version: 2 }))).toEqual({
      roomId: "lobby",
      id: "one",
    });
    await pass(100);
    expect(seen).toMatchObject([{ id: "one", from: "alice", data: { text: "hi" }, key: "k", version: 2 }]);
  });

  it("does not need the room to be joined, and makes ids of its own", async () => {
    const client = await fake.world.connected();
    const [a, b] = await during(Promise.all([client.room("lobby").send(1), client.room("lobby").send(2)]));
    expect(a.id).not.toBe(b.id);
    expect(a.id.length).toBeLessThanOrEqual(64);
  });

  it("takes what the room's type says", async () => {
    const client = await fake.world.connected();
    const room = client.room<{ text: string }>("lobby");
    await during(room.send({ text: "hi" }));
    // @ts-expect-error: a number is no chat message
    await during(room.send(42));
    expect(sentIds()).toHaveLength(2);
  });

  it("makes ids of its own where there is no crypto", async () => {
    vi.stubGlobal("crypto", undefined);
    vi.spyOn(Math, "random").mockImplementation(new Random(1).next);
    const client = await fake.world.connected();
    const [a, b] = await during(Promise.all([client.room("lobby").send(1), client.room("lobby").send(2)]));
    expect(a.id).toMatch(/^[0-9a-f]{32}$/);
    expect(b.id).not.toBe(a.id);
  });

  it("keeps its id through lost connections, so that it is logged once", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    // The message gets through, the reply does not.
    fake.world.network.weather = { ...fake.world.network.weather, losesReply: () => true };
    const sending = room.send("once");
    await pass(100);
    fake.world.network.last.cut();
    fake.world.network.weather = { ...fake.world.network.weather, losesReply: () => false };
    const { id } = await during(sending);
    await pass(1_000);
    expect(sentIds()).toEqual([id, id]);
    expect(seen.map(({ data }) => data)).toEqual(["once"]);
  });

  it("retries when the reply does not come, and looks whether the connection is alive", async () => {
    const { room } = await fake.world.joined({ requestTimeoutMs: 1_000 });
    let silent = 1;
    fake.world.server.script = (frame) => (frame.action === "sendMessage" && silent-- > 0 ? "silence" : undefined);
    const sending = room.send("x");
    await pass(990);
    const syncs = fake.world.server.received("sync").length;
    await during(sending);
    expect(sentIds()).toHaveLength(2);
    expect(fake.world.server.received("sync").length).toBeGreaterThan(syncs);
    expect(fake.world.network.sockets).toHaveLength(1);
  });

  it.each(["rate_limited", "unavailable"])("retries %s with backoff", async (code) => {
    const { room } = await fake.world.joined({ retry: { base: 1_000, cap: 10_000 } });
    let failures = 3;
    const times: number[] = [];
    fake.world.server.script = (frame) => {
      if (frame.action !== "sendMessage") return undefined;
      times.push(Date.now());
      return failures-- > 0 ? { code } : undefined;
    };
    await during(room.send("x"));
    const delays = times.slice(1).map((at, index) => at - (times[index] ?? 0));
    expect(delays).toEqual([510, 1_010, 2_010]);
  });

  it.each(["bad_request", "forbidden", "too_large", "unknown_action", "code_of_a_later_version"])(
    "rejects with %s",
    async (code) => {
      const { room } = await fake.world.joined();
      fake.world.server.script = (frame) => (frame.action === "sendMessage" ? { code } : undefined);
      expect(await failure(room.send("x"))).toMatchObject({ code, retryable: false });
      expect(sentIds()).toHaveLength(1);
    },
  );

  it("gives up after its time, with an error that says that retrying can help", async () => {
    const { room } = await fake.world.joined();
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    fake.world.network.last.cut();
    const start = Date.now();
    expect(await failure(room.send("x", { timeoutMs: 7_000 }))).toMatchObject({ code: "timeout", retryable: true });
    expect(Date.now() - start).toBe(7_000);
  });

  it("refuses a frame over 32 KiB before it is sent, counted in bytes", async () => {
    const { room } = await fake.world.joined();
    expect(await failure(room.send("é".repeat(16_500)))).toMatchObject({ code: "too_large", retryable: false });
    expect(sentIds()).toEqual([]);
    await during(room.send("e".repeat(16_500)));
  });

  it.each([
    ["data", undefined, {}],
    ["data", () => 1, {}],
    ["data", 1n, {}],
    ["id", 1, { id: "" }],
    ["id", 1, { id: "x".repeat(65) }],
    ["key", 1, { key: "x".repeat(65) }],
    ["version", 1, { version: -1 }],
    ["version", 1, { version: 1.5 }],
    ["version", 1, { version: 2 ** 53 }],
    ["timeoutMs", 1, { timeoutMs: 300_000 }],
  ])("checks %s", async (name, value, options) => {
    const { room } = await fake.world.joined();
    const error = await failure(room.send(value, options));
    expect(error).toMatchObject({ code: "bad_request", retryable: false });
    expect(error.message).toContain(name);
  });

  it("sends what the data was when it was called", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const data = { n: 1 };
    const sending = [room.send("first"), room.send(data)];
    data.n = 2;
    await during(Promise.all(sending));
    await pass(100);
    expect(seen.map((message) => message.data)).toEqual(["first", { n: 1 }]);
  });

  it("keeps the order of its calls, whatever overtakes what", async () => {
    const { room } = await fake.world.joined();
    const seen = collect(room);
    let latency = 100;
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => Math.max(5, (latency -= 10)) };
    await during(Promise.all([1, 2, 3, 4, 5].map((n) => room.send(n))));
    await pass(500);
    expect(seen.map(({ data }) => data)).toEqual([1, 2, 3, 4, 5]);
  });

  it("does not let one bad message stop the next", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = (frame) => (frame["data"] === "bad" ? { code: "forbidden" } : undefined);
    const bad = failure(room.send("bad"));
    await during(room.send("good"));
    expect(await bad).toMatchObject({ code: "forbidden" });
  });

  it("goes side by side if it is told to", async () => {
    const { room } = await fake.world.joined();
    const sending = [1, 2, 3].map((n) => room.send(n, { unordered: true }));
    await pass(6);
    expect(sentIds()).toHaveLength(3);
    await during(Promise.all(sending));
  });

  it("rejects with `closed` when the client is closed, and before it is connected", async () => {
    const { client, room } = await fake.world.joined();
    fake.world.server.script = () => "silence";
    const sending = [failure(room.send(1)), failure(room.send(2))];
    await pass(50);
    client.close();
    for (const rejected of sending) expect(await rejected).toMatchObject({ code: "closed", retryable: false });
    expect(await failure(room.send(3))).toMatchObject({ code: "closed" });
  });

  it("does not carry a message over to the next `connect()`", async () => {
    const { client, room } = await fake.world.joined();
    fake.world.server.script = () => "silence";
    const sending = [failure(room.send(1)), failure(room.send(2))];
    await pass(50);
    fake.world.server.script = () => undefined;
    client.close();
    await during(client.connect());
    for (const rejected of sending) expect(await rejected).toMatchObject({ code: "closed" });
    await pass(1_000);
    expect(sentIds()).toHaveLength(1);
  });

  it("takes hundreds of messages at a time without a warning", async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error) => warnings.push(warning.name);
    process.on("warning", onWarning);
    const { room } = await fake.world.joined();
    await during(Promise.all(Array.from({ length: 300 }, (_, n) => room.send(n, { unordered: true }))));
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });
});
