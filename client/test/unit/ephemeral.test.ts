import { describe, expect, it } from "vitest";
import type { Ephemeral } from "../../src/index.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

describe("an ephemeral message", () => {
  it("reaches who is there, and is not logged", async () => {
    const { room } = await fake.world.joined();
    const { room: other } = await fake.world.joined({ token: "bob" });
    const seen: Ephemeral[] = [];
    other.on("ephemeral", (message) => seen.push(message));
    const messages = collect(other);
    expect(await during(room.sendEphemeral(true, { key: "typing" }))).toBe(true);
    await pass(50);
    expect(seen).toEqual([
      { roomId: "lobby", from: "alice", key: "typing", data: true, sentAt: expect.any(Number) as number },
    ]);
    expect([messages, fake.world.server.log("lobby").all]).toEqual([[], []]);
    expect(fake.world.server.received("sendMessage")).toMatchObject([{ ephemeral: true, key: "typing", data: true }]);
  });

  it("is sent every three seconds at most, for each key", async () => {
    const { room } = await fake.world.joined();
    const sent: boolean[] = [];
    for (let n = 0; n < 10; n++) {
      sent.push(await during(room.sendEphemeral(n, { key: "typing" })));
      await pass(995);
    }
    expect(sent.map(Number).join("")).toBe("1001001001");
    expect(await during(room.sendEphemeral(1, { key: "cursor" }))).toBe(true);
    expect(await during(room.sendEphemeral(1))).toBe(true);
    expect(await during(room.sendEphemeral(2, { key: "cursor", minIntervalMs: 0 }))).toBe(true);
  });

  it("without a key is never held back, unless that is asked for", async () => {
    const { room } = await fake.world.joined();
    const sent = [await during(room.sendEphemeral("👍")), await during(room.sendEphemeral("🎉"))];
    const held = [
      await during(room.sendEphemeral("👍", { minIntervalMs: 100 })),
      await during(room.sendEphemeral("👍", { minIntervalMs: 1_000 })),
    ];
    expect([sent, held]).toEqual([
      [true, true],
      [false, false],
    ]);
  });

  it("that could not be sent does not hold back the next", async () => {
    const { room } = await fake.world.joined();
    fake.world.network.last.cut();
    expect(await room.sendEphemeral(1, { key: "typing" })).toBe(false);
    await pass(1_000);
    fake.world.server.script = ({ ephemeral }) => (ephemeral ? "silence" : undefined);
    const sending = room.sendEphemeral(2, { key: "typing" });
    await pass(20);
    fake.world.network.last.cut();
    expect(await during(sending)).toBe(false);
    fake.world.server.script = () => undefined;
    await pass(1_000);
    expect(await during(room.sendEphemeral(3, { key: "typing" }))).toBe(true);
    expect(await during(room.sendEphemeral(4, { key: "typing" }))).toBe(false);
  });

  it("that the server refused for now does hold back the next", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = ({ ephemeral }) => (ephemeral ? { code: "rate_limited" } : undefined);
    for (let n = 0; n < 10; n++) expect(await during(room.sendEphemeral(n, { key: "typing" }))).toBe(false);
    expect(fake.world.server.received("sendMessage")).toHaveLength(1);
  });

  it("that is older than the last of its sender and key is dropped, and so is one that comes twice", async () => {
    const { room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("ephemeral", ({ from, key, data }) => seen.push(`${from} ${key} ${data}`));
    const post = (...messages: object[]) =>
      fake.world.network.last.inject(JSON.stringify({ type: "ephemeral", roomId: "lobby", ephemeral: messages }));
    post({ from: "ann", sentAt: 5, key: "typing", data: "new" }, { from: "bob", sentAt: 1, key: "typing", data: 1 });
    await pass(10);
    post(
      { from: "ann", sentAt: 4, key: "typing", data: "old" },
      { from: "ann", sentAt: 4, key: "cursor", data: 2 },
      { from: "ann", sentAt: 4, data: 3 },
    );
    post({ from: "ann", sentAt: 5, key: "typing", data: "new" });
    await pass(50);
    expect(seen).toEqual(["ann typing new", "bob typing 1", "ann cursor 2", "ann undefined 3"]);
  });

  it("is not tried again, and does not wait for a connection", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = ({ ephemeral }) =>
      ephemeral ? { code: "rate_limited", retryAfterMs: 5_000 } : undefined;
    expect(await during(room.sendEphemeral(1))).toBe(false);
    // Messages have a limit of their own.
    const begun = Date.now();
    expect(await during(room.send("logged"))).toMatchObject({ roomId: "lobby" });
    expect(Date.now() - begun).toBeLessThan(100);
    fake.world.network.last.cut();
    expect(await room.sendEphemeral(1, { key: "offline" })).toBe(false);
    await pass(5_000);
    expect(fake.world.server.received("sendMessage").filter(({ ephemeral }) => ephemeral)).toHaveLength(1);
  });

  it("that cannot be sent is refused", async () => {
    const { client, room } = await fake.world.joined();
    expect(await failure(room.sendEphemeral("x".repeat(4_095)))).toMatchObject({ code: "too_large" });
    expect(await failure(room.sendEphemeral(undefined))).toMatchObject({ code: "bad_request" });
    expect(await failure(room.sendEphemeral(1, { key: "" }))).toMatchObject({ code: "bad_request" });
    fake.world.server.script = () => ({ code: "forbidden" });
    expect(await failure(room.sendEphemeral(1))).toMatchObject({ code: "forbidden", roomId: "lobby" });
    client.close();
    expect(await failure(room.sendEphemeral(1))).toMatchObject({ code: "closed" });
  });

  it("is nothing to a room that was left by a listener", async () => {
    const { room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("ephemeral", ({ data }) => {
      seen.push(data);
      void room.leave();
    });
    const messages = [1, 2].map((data) => ({ from: "ann", sentAt: data, data }));
    fake.world.network.last.inject(JSON.stringify({ type: "ephemeral", roomId: "lobby", ephemeral: messages }));
    await pass(50);
    expect(seen).toEqual([1]);
  });
});
