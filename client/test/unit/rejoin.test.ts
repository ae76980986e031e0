import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Room } from "../../src/index.js";
import { collect, during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** Rejections that nobody handled: Node tells of them when a turn of the event loop is over. */
const turn = setImmediate;
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => unhandled.push(reason);
beforeEach(() => {
  unhandled.length = 0;
  process.on("unhandledRejection", onUnhandled);
});
afterEach(async () => {
  await new Promise((resolve) => turn(resolve));
  process.off("unhandledRejection", onUnhandled);
  expect(unhandled).toEqual([]);
});

/** Frames about membership. */
function moves(): string[] {
  return fake.world.server.frames.map(({ action }) => action).filter((action) => action !== "sync");
}

async function hears(room: Room, data: unknown): Promise<void> {
  const seen = collect(room);
  fake.world.server.publish(room.id, [{ data }]);
  await pass(50);
  expect(seen).toMatchObject([{ data }]);
}

describe("a room that is joined again", () => {
  it("in the tick in which it was joined and left is joined in the end, with one frame", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const first = room.join();
    void room.leave();
    const second = room.join();
    expect(await failure(first)).toMatchObject({ code: "left" });
    await during(second);
    await pass(2_000);
    expect(room.status).toBe("joined");
    expect(fake.world.server.members("lobby")).toHaveLength(1);
    await hears(room, "mounted twice");
    expect(moves()).toEqual(["joinRoom"]);
  });

  it("while the first join waits for its reply is joined in the end", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    void room.join();
    await pass(2);
    void room.leave();
    await during(room.join());
    await pass(2_000);
    expect(fake.world.server.members("lobby")).toHaveLength(1);
    await hears(room, "still here");
    expect(moves().at(-1)).toBe("joinRoom");
  });

  it("by a listener of `left` is joined in the end", async () => {
    const { room } = await fake.world.joined();
    room.once("left", () => void room.join());
    await during(room.leave());
    await pass(2_000);
    expect(room.status).toBe("joined");
    expect(fake.world.server.members("lobby")).toHaveLength(1);
    await hears(room, "back");
    expect(moves()).toEqual(["joinRoom", "joinRoom"]);
  });

  it("by a listener of `left` after a refusal is joined in the end", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    let refusals = 1;
    fake.world.server.script = (frame) =>
      frame.action === "joinRoom" && refusals-- > 0 ? { code: "forbidden" } : undefined;
    room.once("left", () => void room.join());
    void room.join();
    await pass(2_000);
    expect(room.status).toBe("joined");
    await hears(room, "allowed now");
  });
});

describe("the wish to be joined", () => {
  it("outlives the promise of join(), which times out", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? { code: "unavailable" } : undefined);
    const room = client.room("lobby");
    const start = Date.now();
    expect(await failure(room.join())).toMatchObject({ code: "timeout", retryable: true });
    expect(Date.now() - start).toBe(30_000);
    expect(room.status).toBe("joining");
    fake.world.server.script = () => undefined;
    await pass(15_000);
    expect(room.status).toBe("joined");
    await hears(room, "at last");
  });

  it("outlives being offline at the start", async () => {
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    const client = fake.world.client();
    void client.connect();
    const room = client.room("lobby");
    void room.join();
    await pass(120_000);
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await pass(31_000);
    expect(room.status).toBe("joined");
  });

  it("ends with leave(), also while no attempt succeeds", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? { code: "unavailable" } : undefined);
    const room = client.room("lobby");
    void room.join();
    await pass(40_000);
    fake.world.server.script = () => undefined;
    await during(room.leave());
    await pass(60_000);
    expect(room.status).toBe("left");
    expect(fake.world.server.members("lobby")).toEqual([]);
  });

  it("outlives close(): connect() brings the room back where it stopped", async () => {
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(50);
    client.close();
    expect(room.status).toBe("left");
    fake.world.server.publish("lobby", [{ data: 2 }]);
    await pass(60_000);
    await during(client.connect());
    await pass(50);
    fake.world.server.publish("lobby", [{ data: 3 }]);
    await pass(50);
    expect(room.status).toBe("joined");
    expect(seen.map(({ data }) => data)).toEqual([1, 2, 3]);
    // `join()` sends no frame, because the room is joined already.
    await room.join();
    expect(fake.world.server.received("joinRoom")).toHaveLength(2);
  });

  it("outlives close(), and the room goes on where its slowest reader stopped", async () => {
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const iterator = room[Symbol.asyncIterator]();
    const [first] = fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    await pass(50);
    await iterator.next();
    client.close();
    expect([(await iterator.next()).done, room.seq]).toEqual([true, first?.seq]);
    await during(client.connect());
    await pass(50);
    expect(seen.map(({ data }) => data)).toEqual([1, 2, 2]);
  });

  it("does not outlive leave(), before close() or after", async () => {
    const { client, room } = await fake.world.joined();
    const other = client.room("other");
    await during(other.join());
    await during(room.leave());
    client.close();
    await other.leave();
    await during(client.connect());
    await pass(5_000);
    expect([room.status, other.status]).toEqual(["left", "left"]);
    expect(fake.world.server.received("joinRoom")).toHaveLength(2);
  });

  it.each([
    ["replaces the one that connect() has brought back", false],
    ["does so also after hooks have asked for more of the room", true],
  ])("of an application that says from where %s", async (_what, hasHooks) => {
    const { client, room } = await fake.world.joined();
    const seen = collect(room);
    const [first] = fake.world.server.publish("lobby", [{ data: 1 }, { data: 2 }]);
    await pass(50);
    client.close();
    void client.connect();
    if (hasHooks) void room.join({ state: true });
    await during(room.join({ after: first?.seq ?? 0 }));
    await pass(2_000);
    expect(seen.map(({ data }) => data)).toEqual([1, 2, 2]);
    expect(await failure(room.join({ after: first?.seq ?? 0 }))).toMatchObject({ code: "bad_request" });
    client.close();
    void client.connect();
    void room.join();
    expect(await failure(room.join({ after: first?.seq ?? 0 }))).toMatchObject({ code: "bad_request" });
  });
});

describe("connect() by a listener of `left` during close()", () => {
  it("takes effect after it", async () => {
    const { client, room } = await fake.world.joined();
    const states: string[] = [];
    client.on("state", ({ state }) => states.push(state));
    room.once("left", () => void client.connect());
    client.close();
    await pass(2_000);
    expect(client.state).toBe("open");
    expect(states).toEqual(["closed", "connecting", "open"]);
    expect(room.status).toBe("joined");
    expect(fake.world.network.open).toHaveLength(1);
    await hears(room, "again");
  });
});

describe("close() by a listener of a room that connect() brings back", () => {
  it("leaves the client closed", async () => {
    const { client, room } = await fake.world.joined();
    client.close();
    room.once("status", () => client.close());
    expect(await failure(client.connect())).toMatchObject({ code: "closed" });
    await pass(5_000);
    expect(client.state).toBe("closed");
  });

  it("leaves every other room closed too", async () => {
    const { client, room } = await fake.world.joined();
    const other = client.room("other");
    await during(other.join());
    client.close();
    room.once("status", () => client.close());
    await failure(client.connect());
    await pass(5_000);
    expect([room.status, other.status]).toEqual(["left", "left"]);
  });
});
