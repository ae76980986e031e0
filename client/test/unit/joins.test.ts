import { describe, expect, it } from "vitest";
import { collect, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

function rooms(action: string): unknown[] {
  return fake.world.server.received(action).map((frame) => frame.roomId);
}

describe("after a lost connection", () => {
  it("the rooms in which messages flow are joined first", async () => {
    const client = await fake.world.connected({ joinConcurrency: 1 });
    const ids = ["a", "b", "c", "d"];
    await during(Promise.all(ids.map((id) => client.room(id).join())));
    for (const id of ["d", "b"]) {
      for (let n = 0; n < 2; n++) {
        fake.world.server.publish(id, [{ data: n }]);
        await pass(1_000);
      }
    }
    const before = rooms("joinRoom").length;
    fake.world.network.last.cut();
    await pass(5_000);
    expect(rooms("joinRoom").slice(before)).toEqual(["b", "d", "a", "c"]);
  });
});

describe("a join that fails for a while", () => {
  it("does not keep others from being tried", async () => {
    const client = await fake.world.connected({ joinConcurrency: 1, retry: { base: 8_000, cap: 8_000 } });
    let failures = 1;
    fake.world.server.script = (frame) =>
      frame.action === "joinRoom" && frame.roomId === "bad" && failures-- > 0 ? { code: "unavailable" } : undefined;
    void client.room("bad").join();
    const joined: string[] = [];
    for (const id of ["a", "b", "c"])
      void client
        .room(id)
        .join()
        .then(() => joined.push(id));
    await pass(1_000);
    expect(joined).toEqual(["a", "b", "c"]);
    await pass(8_000);
    expect(client.room("bad").status).toBe("joined");
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
    // The sync takes a second to get there, what follows it a few milliseconds.
    const latencies = [1_000];
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => latencies.shift() ?? 5 };
    for (let waited = 0; latencies.length > 0 && waited < 600_000; waited += 50) await pass(50);
    const before = fake.world.server.received("sync").length;
    const leaving = room.leave();
    await pass(900);
    expect(rooms("leaveRoom")).toEqual([]);
    await during(leaving);
    await pass(2_000);
    expect(fake.world.server.received("sync").length).toBeGreaterThan(before);
    expect(fake.world.server.members("lobby")).toEqual([]);
    expect(fake.world.server.members("other")).toHaveLength(1);
  });

  it("is done again when a join that was given up is answered after it", async () => {
    const client = await fake.world.connected({ requestTimeoutMs: 1_000 });
    const late: string[] = [];
    fake.world.server.script = (frame) => {
      if (frame.action !== "joinRoom") return undefined;
      late.push(
        JSON.stringify({
          type: "joined",
          roomId: "lobby",
          requestId: frame.requestId,
          seq: 0,
          messages: [],
          more: false,
          truncated: false,
        }),
      );
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
    const send = () =>
      socket.inject(JSON.stringify({ type: "messages", roomId: "lobby", messages: [], after: 1, seq: 2 }));
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

describe("a leave that the server does only after a join", () => {
  /** A server that is slow with `leaveRoom`, as with a cold start. */
  function slowLeaves(ms: number): void {
    const { server } = fake.world;
    const done = new Set<unknown>();
    server.script = (frame, peer) => {
      if (frame.action !== "leaveRoom" || done.has(frame.requestId)) return undefined;
      done.add(frame.requestId);
      setTimeout(() => {
        const text = server.handle(peer, JSON.stringify(frame));
        if (text !== undefined) (peer as unknown as { inject(text: string): void }).inject(text);
      }, ms);
      return "silence";
    };
  }

  it("is noticed by its late reply, if it was given up before", async () => {
    const { server } = fake.world;
    const { room } = await fake.world.joined();
    server.publish("lobby", [{ data: 0 }]);
    await pass(1_200_000);
    slowLeaves(25_000);
    void room.leave();
    await pass(5_000);
    // Something else comes in, and the connection lives.
    fake.world.network.last.inject('{"type":"later version"}');
    void room.join();
    await pass(15_000);
    expect(room.status).toBe("joined");
    await pass(10_000);
    const seen = collect(room);
    server.publish("lobby", [{ data: "heard?" }]);
    await pass(60_000);
    expect(seen.map(({ data }) => data)).toEqual(["heard?"]);
  });

  it("of a room that went on sending does not undo a join", async () => {
    const { server, network } = fake.world;
    const { room } = await fake.world.joined();
    server.publish("lobby", [{ data: 0 }]);
    await pass(1_200_000);
    await during(room.leave());
    slowLeaves(3_000);
    // A broadcast that was under way when the room was left.
    network.last.inject(
      JSON.stringify({
        type: "messages",
        roomId: "lobby",
        messages: [{ seq: 2_000, id: "z", from: "x", sentAt: 1, data: 1 }],
      }),
    );
    await pass(20);
    await during(room.join());
    await pass(10_000);
    const seen = collect(room);
    server.publish("lobby", [{ data: "heard?" }]);
    await pass(60_000);
    expect(seen.map(({ data }) => data)).toEqual(["heard?"]);
  });
});
