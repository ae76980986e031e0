import { describe, expect, it, vi } from "vitest";
import { Beat } from "../../src/beat.js";
import { collect, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const interval = 30 * SECOND;

/** The beat of a room that was joined at 0 and confirmed, with nothing due before nine minutes. */
function silent(): Beat {
  const beat = new Beat(interval);
  beat.joined(0, 9 * MINUTE);
  beat.synced(1_010, 1_000, 9 * MINUTE, false);
  return beat;
}

describe("Beat", () => {
  it("follows a join after a second, and then the server", () => {
    const beat = new Beat(interval);
    beat.joined(0, 5 * MINUTE);
    expect(beat.due).toBe(1_000);
    beat.synced(1_010, 1_000, 5 * MINUTE, true);
    expect(beat.due).toBe(1_010 + 5 * MINUTE);
  });

  it("follows the last frame, which may not have been the last", () => {
    const beat = silent();
    beat.frame(10 * SECOND);
    beat.frame(20 * SECOND);
    expect(beat.due).toBe(50 * SECOND);
  });

  it("comes after nine minutes at the latest, whatever flows or is said", () => {
    const beat = silent();
    for (let second = 2; second < 535; second++) beat.frame(second * SECOND);
    expect(beat.due).toBe(1_010 + 9 * MINUTE);
    beat.synced(600 * SECOND, 600 * SECOND, 60 * MINUTE, true);
    expect(beat.due).toBe(600 * SECOND + 9 * MINUTE);
  });

  it("comes half a minute earlier in a hidden tab, where timers are late", () => {
    const beat = silent();
    vi.stubGlobal("document", { visibilityState: "hidden" });
    expect(beat.due).toBe(1_010 + 8.5 * MINUTE);
  });

  it("of a member comes before it is taken for gone, although frames flow", () => {
    const beat = new Beat(interval);
    beat.joined(0, 9 * MINUTE, 27 * SECOND);
    beat.synced(1_010, 1_000, 9 * MINUTE, false);
    for (let second = 2; second < 25; second++) beat.frame(second * SECOND);
    expect(beat.due).toBe(28_010);
    beat.synced(28_100, 28_010, 9 * MINUTE, true);
    beat.frame(40 * SECOND);
    expect(beat.due).toBe(55_100);
    beat.joined(60 * SECOND, 9 * MINUTE);
    beat.synced(62 * SECOND, 61 * SECOND, 9 * MINUTE, false);
    expect(beat.due).toBe(62 * SECOND + 9 * MINUTE);
  });

  it("that a room has asked for comes again when it was not answered, although frames flow", () => {
    const beat = silent();
    beat.askAt = 10 * SECOND;
    beat.failed(20 * SECOND, 25 * SECOND);
    beat.frame(21 * SECOND);
    expect(beat.due).toBe(25 * SECOND);
  });

  it("of a silent room is not drawn nearer by a busy one that it shares a frame with", () => {
    const beat = silent();
    beat.synced(100 * SECOND, 100 * SECOND, 30 * SECOND, false);
    expect(beat.due).toBe(1_010 + 9 * MINUTE);
    beat.synced(200 * SECOND, 200 * SECOND, 30 * SECOND, true);
    expect(beat.due).toBe(230 * SECOND);
  });

  it("stays due for a frame that came while the answer was under way", () => {
    const beat = silent();
    beat.frame(101 * SECOND);
    beat.synced(102 * SECOND, 100 * SECOND, 9 * MINUTE, false);
    expect(beat.due).toBe(131 * SECOND);
  });

  it("comes again when it was not answered, no earlier than told", () => {
    const beat = silent();
    beat.frame(10 * SECOND);
    beat.failed(40 * SECOND, 47 * SECOND);
    expect(beat.due).toBe(47 * SECOND);
  });
});

/** Rooms named by each `sync` since `from`. */
function syncs(from = 0): string[][] {
  return fake.world.server
    .received("sync")
    .slice(from)
    .map((frame) => Object.keys(frame["rooms"] as object).sort());
}

describe("the beats of a client", () => {
  it("are not needed while frames flow", async () => {
    await fake.world.joined();
    await pass(2_000);
    for (let second = 0; second < 500; second += 10) {
      fake.world.server.publish("lobby", [{ data: second }]);
      await pass(10_000);
    }
    // One that confirms the join, one that the first message of an empty log asks for.
    expect(syncs()).toHaveLength(2);
    await pass(40_000);
    expect(syncs()).toHaveLength(3);
  });

  it("find a lost last frame within 37 seconds of the frame before", async () => {
    const { room } = await fake.world.joined();
    const seen: unknown[] = [];
    room.on("message", ({ data }) => seen.push(data));
    // After the first message of an empty log, the log is asked for more at once. A frame without a question follows.
    for (const data of [1, 2]) {
      fake.world.server.publish("lobby", [{ data }]);
      await pass(4_000);
    }
    fake.world.network.weather = { ...fake.world.network.weather, losesBroadcast: () => true };
    fake.world.server.publish("lobby", [{ data: 3 }]);
    await pass(33_000);
    expect(seen).toEqual([1, 2, 3]);
  });

  it("make a client that was cut out of a room a member again", async () => {
    const logged: unknown[] = [];
    const logger = {
      debug: (text: string, details?: object) => logged.push([text, details]),
      info: () => {},
      warn: () => {},
      error: () => {},
    };
    const { room } = await fake.world.joined({ logger });
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    fake.world.server.loseRow("lobby", fake.world.network.last);
    fake.world.server.publish("lobby", [{ data: 2 }]);
    await pass(33_000);
    const seen: unknown[] = [];
    room.on("message", ({ data }) => seen.push(data));
    fake.world.server.publish("lobby", [{ data: 3 }]);
    await pass(100);
    expect(seen).toEqual([1, 2, 3]);
    expect(fake.world.server.renewals).toBe(1);
    expect(logged).toContainEqual(["rooms renewed", { rooms: ["lobby"] }]);
  });

  it("come again soon in a room whose row was put back, also if it only shared another's beat", async () => {
    const { server, network } = fake.world;
    const client = await fake.world.connected();
    const seen: unknown[] = [];
    client.room("quiet").on("message", ({ data }) => seen.push(data));
    await during(Promise.all([client.room("quiet").join(), client.room("busy").join()]));
    server.publish("quiet", [{ data: 1 }]);
    server.publish("busy", [{ data: 1 }]);
    // Beats come 30, 60, 120, 240 and 480 seconds after the messages, and then every 540.
    await pass(1_400_000);
    server.loseRow("quiet", network.last);
    server.indexLag = () => 5_000;
    const before = server.renewals;
    server.publish("busy", [{ data: 2 }]);
    while (server.renewals === before) await pass(1_000);
    expect(syncs().at(-1)).toEqual(["busy", "quiet"]);
    server.publish("quiet", [{ data: 2 }]);
    await pass(40_000);
    expect(seen).toEqual([1, 2]);
  });

  it("of rooms that are due at about the same time share a frame", async () => {
    const client = await fake.world.connected();
    const joins = Array.from({ length: 40 }, (_, n) => client.room(`room-${String(n).padStart(2, "0")}`).join());
    await during(Promise.all(joins));
    await pass(2_000);
    expect(syncs().map((rooms) => rooms.length)).toEqual([40]);
    await pass(600_000);
    expect(syncs().map((rooms) => rooms.length)).toEqual([40, 40]);
  });

  it("of rooms that were joined apart come to share frames", async () => {
    const client = await fake.world.connected();
    for (let n = 0; n < 10; n++) {
      await during(client.room(`room-${n}`).join());
      await pass(20_000);
    }
    const before = syncs().length;
    await pass(1_800_000);
    const frames = syncs(before);
    expect(frames.length).toBeLessThanOrEqual(5);
    expect(frames.at(-1)).toHaveLength(10);
  });

  it("ask again soon for a room that an answer leaves out, with backoff, and leave the others alone", async () => {
    const { client } = await fake.world.joined();
    await during(client.room("other").join());
    await pass(2_000);
    fake.world.server.unsynced.add("lobby");
    const before = syncs().length;
    await pass(545_000);
    await pass(20_000);
    const frames = syncs(before);
    expect(frames[0]).toEqual(["lobby", "other"]);
    const again = frames.slice(1);
    expect(again.length).toBeGreaterThan(4);
    expect(again.length).toBeLessThan(15);
    expect(new Set(again.flat())).toEqual(new Set(["lobby"]));
    fake.world.server.unsynced.clear();
    await pass(10_000);
    const after = syncs().length;
    await pass(400_000);
    expect(syncs()).toHaveLength(after);
  });

  it("wait as long as the server asks, also for a room that gets a gap meanwhile", async () => {
    const { client, room } = await fake.world.joined();
    const other = client.room("other");
    await during(other.join());
    const seen: unknown[] = [];
    for (const listened of [room, other]) listened.on("message", ({ data }) => seen.push(data));
    for (const id of ["lobby", "other"]) fake.world.server.publish(id, [{ data: 0 }]);
    await pass(2_000);
    let refusals = 1;
    const times: number[] = [];
    fake.world.server.script = (frame) => {
      if (frame.action !== "sync") return undefined;
      times.push(Date.now());
      return refusals-- > 0 ? { code: "rate_limited", retryAfterMs: 8_000 } : undefined;
    };
    for (const id of ["lobby", "other"]) {
      fake.world.server.log(id).append([{ id: `lost-${id}`, from: "x", data: "lost" }]);
      fake.world.server.publish(id, [{ data: "later" }]);
      await pass(1_000);
    }
    await pass(10_000);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(8_000);
    expect(seen).toEqual([0, 0, "lost", "later", "lost", "later"]);
  });

  it("name every room of a crowded answer again at once, and a room that has no place in it is not given up", async () => {
    const client = await fake.world.connected();
    fake.world.server.budget = 3;
    for (const id of ["a", "b", "c"]) {
      fake.world.server.log(id).append([{ id: `${id}0`, from: "x", data: 0 }]);
      await during(client.room(id).join());
    }
    const seen: unknown[] = [];
    for (const id of ["a", "b", "c"])
      client.room(id).on("message", ({ roomId, data }) => seen.push(`${roomId}${String(data)}`));
    await pass(2_000);
    for (const id of ["a", "b", "c"])
      fake.world.server.log(id).append([1, 2, 3].map((data) => ({ id: `${id}${data}`, from: "x", data })));
    await pass(545_000);
    expect(seen.sort()).toEqual(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]);
  });

  it("leave the rooms that are no longer allowed, and only those, after one frame", async () => {
    const client = await fake.world.connected();
    const ids = ["a", "b", "c", "d", "e"];
    await during(Promise.all(ids.map((id) => client.room(id).join())));
    await pass(2_000);
    const errors: string[] = [];
    for (const id of ids)
      client.room(id).on("error", ({ code, roomId, retryable }) => errors.push(`${roomId} ${code} ${retryable}`));
    for (const id of ["b", "d"]) fake.world.server.forbidden.add(id);
    const before = syncs().length;
    await pass(560_000);
    expect(syncs(before)).toEqual([ids]);
    expect(ids.map((id) => client.room(id).status)).toEqual(["joined", "left", "joined", "left", "joined"]);
    expect(errors).toEqual(["b forbidden false", "d forbidden false"]);
    expect(client.state).toBe("open");
  });

  it("of a server that refuses the whole frame are tried again, and no room is left", async () => {
    const { client, room } = await fake.world.joined();
    await pass(2_000);
    let refusals = 2;
    fake.world.server.script = ({ action }) =>
      action === "sync" && refusals-- > 0 ? { code: "forbidden" } : undefined;
    const before = syncs().length;
    await pass(560_000);
    expect(syncs(before)).toHaveLength(3);
    expect([client.state, room.status]).toEqual(["open", "joined"]);
  });

  it("are planned earlier when the tab is hidden", async () => {
    const listeners = new Map<string, () => void>();
    const page = {
      addEventListener: (event: string, listener: () => void) => listeners.set(event, listener),
      visibilityState: "visible",
    };
    vi.stubGlobal("document", page);
    await fake.world.joined();
    await pass(2_000);
    const before = syncs().length;
    page.visibilityState = "hidden";
    listeners.get("visibilitychange")?.();
    await pass(8.5 * MINUTE);
    expect(syncs(before)).toHaveLength(1);
  });
});

function names(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `room-${n}`);
}

/** A connected client in so many rooms, whose joins were confirmed. */
async function inRooms(count: number) {
  const client = await fake.world.connected();
  await during(Promise.all(names(count).map((id) => client.room(id).join())));
  await pass(5_000);
  return client;
}

describe("rooms that are due while a beat has no answer yet", () => {
  it("wait for it without a timer that fires all the time", async () => {
    const { server, network } = fake.world;
    await inRooms(60);
    for (const id of names(60)) server.publish(id, [{ data: 1 }]);
    // The beats of 60 rooms, in frames of 50: the second frame waits for the answer to the first.
    server.script = ({ action }) => (action === "sync" ? "silence" : undefined);
    await pass(29_000);
    const before = server.received("sync").length;
    const timers = vi.spyOn(globalThis, "setTimeout");
    for (let second = 0; second < 10; second++) {
      network.last.inject('{"type":"later version"}');
      await pass(1_000);
    }
    expect(server.received("sync").length - before).toBe(1);
    expect(timers.mock.calls.length).toBeLessThan(100);
  });

  it("also when a single room was joined meanwhile", async () => {
    const { client } = await fake.world.joined();
    await pass(5_000);
    fake.world.server.publish("lobby", [{ data: 1 }]);
    await pass(29_000);
    fake.world.server.script = ({ action }) => (action === "sync" ? "silence" : undefined);
    await pass(1_100);
    await during(client.room("other").join());
    const timers = vi.spyOn(globalThis, "setTimeout");
    await pass(5_000);
    expect(timers.mock.calls.length).toBeLessThan(100);
  });
});

describe("a retention of nothing", () => {
  it("is no reason to ask an empty log all the time", async () => {
    fake.world.server.retentionSeconds = 0;
    await fake.world.joined();
    await pass(2_000);
    const before = fake.world.server.received("sync").length;
    await pass(10_000);
    expect(fake.world.server.received("sync").length - before).toBeLessThanOrEqual(10);
  });
});

describe("an answer that names no renewed memberships, but null", () => {
  it("is taken for what it brings", async () => {
    const { server, network } = fake.world;
    const { room } = await fake.world.joined();
    const seen = collect(room);
    const [first] = server.publish("lobby", [{ data: 1 }]);
    await pass(5_000);
    const seq = (first?.seq ?? 0) + 1;
    server.script = (frame) => {
      if (frame.action !== "sync") return undefined;
      const page = {
        seq,
        messages: [{ seq, id: "a", from: "x", sentAt: 1, data: "lost" }],
        more: false,
        truncated: false,
      };
      network.last.inject(
        JSON.stringify({ type: "synced", requestId: frame.requestId, rooms: { lobby: page }, renewed: null }),
      );
      return "silence";
    };
    await pass(60_000);
    expect(seen.map(({ data }) => data)).toEqual([1, "lost"]);
  });
});
