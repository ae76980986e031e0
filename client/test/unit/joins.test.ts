import { describe, expect, it } from "vitest";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

function rooms(action: string): unknown[] {
  return fake.world.server.received(action).map((frame) => frame.roomId);
}

describe("a join that fails for a while", () => {
  it("does not keep others from being tried", async () => {
    const client = await fake.world.connected({ joinConcurrency: 1, retry: { base: 8_000, cap: 8_000 } });
    let failures = 1;
    fake.world.server.script = (frame) =>
      frame.action === "joinRoom" && frame.roomId === "bad" && failures-- > 0 ? { code: "unavailable" } : undefined;
    void client.room("bad").join();
    const joined: string[] = [];
    for (const id of ["a", "b", "c"]) void client.room(id).join().then(() => joined.push(id));
    await pass(1_000);
    expect(joined).toEqual(["a", "b", "c"]);
    await pass(8_000);
    expect(client.room("bad").state).toBe("joined");
  });

  it("does not keep a room behind it from being left", async () => {
    const client = await fake.world.connected({ joinConcurrency: 1 });
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? "silence" : undefined);
    void client.room("first").join();
    const queued = client.room("queued");
    void queued.join();
    await pass(100);
    const leaving = queued.leave();
    let left = false;
    void leaving.then(() => (left = true));
    await pass(0);
    expect(left).toBe(true);
    expect(rooms("leaveRoom")).toEqual([]);
  });
});

describe("leaving a room", () => {
  it("waits for a sync under way that names it: the sync makes the connection a member", async () => {
    const { client, room } = await fake.world.joined();
    await during(client.room("other").join());
    await pass(2_000);
    fake.world.server.syncAfterMs = () => 30_000;
    // The beat is under way for a second.
    const before = fake.world.server.received("sync").length;
    const { weather } = fake.world.network;
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(29_990);
    fake.world.network.weather = { ...weather, latency: () => 500 };
    await pass(20);
    fake.world.network.weather = weather;
    const leaving = room.leave();
    await during(leaving);
    await pass(5_000);
    expect(fake.world.server.received("sync").length).toBeGreaterThan(before);
    expect(fake.world.server.members("lobby")).toEqual([]);
    expect(fake.world.server.members("other")).toHaveLength(1);
  });

  it("is done again when a join that was given up is answered after it", async () => {
    const client = await fake.world.connected({ requestTimeoutMs: 1_000 });
    const late: string[] = [];
    fake.world.server.script = (frame) => {
      if (frame.action !== "joinRoom") return undefined;
      late.push(JSON.stringify({ type: "joined", roomId: "lobby", requestId: frame.requestId, seq: 0, messages: [], more: false, truncated: false }));
      return "silence";
    };
    const room = client.room("lobby");
    void room.join();
    await pass(1_050);
    await during(room.leave());
    expect(rooms("leaveRoom")).toEqual(["lobby"]);
    fake.world.network.last.inject(late[0] ?? "");
    await pass(100);
    expect(rooms("leaveRoom")).toEqual(["lobby", "lobby"]);
  });

  it("is done again when the room goes on sending, once a minute at most", async () => {
    const { client, room } = await fake.world.joined();
    await during(room.leave());
    const socket = fake.world.network.last;
    // A sync that was answered too late has joined the room again, and leaving does not help.
    const send = () => socket.inject(JSON.stringify({ type: "messages", roomId: "lobby", messages: [], after: 1, seq: 2 }));
    for (let second = 0; second < 150; second++) {
      send();
      await pass(1_000);
    }
    expect(rooms("leaveRoom")).toEqual(["lobby", "lobby", "lobby", "lobby"]);
    expect(client.state).toBe("open");
    // A room that is wanted is not left.
    void room.join();
    send();
    await pass(61_000);
    send();
    await pass(1_000);
    expect(rooms("leaveRoom")).toHaveLength(4);
  });
});
