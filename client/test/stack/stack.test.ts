import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Message, Roomcast, RoomcastOptions } from "../../src/index.js";
import { collect, essence, logAfter, missing, Participant } from "./stack.js";

if (missing !== undefined) console.warn(`SKIPPED, there is no stack to test against: ${missing}`);

const WAIT = { timeout: 30_000, interval: 50 };

describe.skipIf(missing !== undefined)("the library against a whole stack", () => {
  const participants: Participant[] = [];

  afterEach(() => {
    for (const { client } of participants.splice(0)) client.close();
  });

  async function participant(sub: string, options: Partial<RoomcastOptions> = {}): Promise<Participant> {
    const made = new Participant(sub, options);
    participants.push(made);
    await made.client.connect();
    return made;
  }

  /** A room that nobody has used before. */
  const fresh = () => `stack-${randomUUID()}`;

  const texts = (messages: readonly Message[]) => messages.map(({ data }) => data);

  async function saw(seen: readonly Message[], count: number): Promise<void> {
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(count), WAIT);
  }

  /** Sends numbers, one after another. */
  async function count(client: Roomcast, roomId: string, from: number, to: number): Promise<void> {
    for (let n = from; n <= to; n++) await client.room(roomId).send(n);
  }

  it("shows every member of a room the same log, in order", async () => {
    const roomId = fresh();
    const members = await Promise.all(["alice", "bob", "carol"].map((sub) => participant(sub)));
    const seen = members.map(({ client }) => collect(client.room(roomId)));
    const joins = await Promise.all(members.map(({ client }) => client.room(roomId).join()));
    expect(joins.map(({ seq }) => seq)).toEqual([0, 0, 0]);
    await Promise.all(members.map(({ client }, index) => count(client, roomId, index * 100, index * 100 + 9)));
    for (const messages of seen) await saw(messages, 30);
    const log = await logAfter(members[0]?.client.room(roomId) as never, 0);
    expect(log).toHaveLength(30);
    for (const messages of seen) expect(essence(messages)).toEqual(essence(log));
    const seqs = log.map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, index) => (seqs[0] ?? 0) + index));
    for (const [index, sub] of ["alice", "bob", "carol"].entries()) {
      const own = log.filter(({ from }) => from === sub);
      expect(texts(own)).toEqual(Array.from({ length: 10 }, (_, n) => index * 100 + n));
    }
  });

  it("keeps the order of calls that nobody waits for", async () => {
    const roomId = fresh();
    const { client } = await participant("alice");
    const room = client.room(roomId);
    const seen = collect(room);
    await room.join();
    await Promise.all(Array.from({ length: 15 }, (_, n) => room.send(n)));
    await saw(seen, 15);
    expect(texts(seen)).toEqual(Array.from({ length: 15 }, (_, n) => n));
  });

  it("logs a message once, however often it is sent with its id", async () => {
    const roomId = fresh();
    const { client } = await participant("alice");
    const room = client.room(roomId);
    const seen = collect(room);
    await room.join();
    for (let n = 0; n < 3; n++) expect(await room.send("once", { id: "the-id" })).toEqual({ roomId, id: "the-id" });
    await room.send("end");
    await saw(seen, 2);
    expect(texts(seen)).toEqual(["once", "end"]);
    expect(texts(await logAfter(room, 0))).toEqual(["once", "end"]);
  });

  it("delivers the first message of a room to whoever joined it empty", async () => {
    const roomId = fresh();
    const alice = await participant("alice");
    const bob = await participant("bob");
    const seen = collect(alice.client.room(roomId));
    await alice.client.room(roomId).join();
    await bob.client.room(roomId).send({ nested: ["ä", null, 1.5, { "": true }] }, { key: "k", version: 7 });
    await saw(seen, 1);
    expect(seen[0]).toMatchObject({
      from: "bob",
      data: { nested: ["ä", null, 1.5, { "": true }] },
      key: "k",
      version: 7,
    });
    expect(Math.abs(Date.now() - (seen[0]?.sentAt ?? 0))).toBeLessThan(60_000);
  });

  it("pages through the history, and joins where a reader stopped", async () => {
    const roomId = fresh();
    const { client } = await participant("alice");
    await count(client, roomId, 1, 25);
    const room = client.room(roomId);
    await vi.waitFor(async () => expect(await logAfter(room, 0)).toHaveLength(25), WAIT);
    const newest = await room.history({ limit: 10 });
    expect([texts(newest.messages)[0], newest.more]).toEqual([16, true]);
    const older = await room.history({ limit: 100, before: newest.messages[0]?.seq ?? 0 });
    expect([texts(older.messages).at(-1), older.more]).toEqual([15, false]);
    const seen = collect(room);
    const after = newest.messages[4]?.seq ?? 0;
    await room.join({ after });
    await saw(seen, 5);
    expect(texts(seen)).toEqual([21, 22, 23, 24, 25]);
    const all = await participant("bob");
    const everything = collect(all.client.room(roomId));
    await all.client.room(roomId).join({ after: 0 });
    await saw(everything, 25);
    expect(essence(everything)).toEqual(essence(await logAfter(room, 0)));
  });

  it("loses nothing when connections are cut, again and again", async () => {
    const roomId = fresh();
    const alice = await participant("alice");
    const bob = await participant("bob");
    const seen = collect(alice.client.room(roomId));
    const own = collect(bob.client.room(roomId));
    await Promise.all([alice.client.room(roomId).join(), bob.client.room(roomId).join()]);
    for (let round = 0; round < 4; round++) {
      alice.unplugged = true;
      alice.cut();
      await count(bob.client, roomId, round * 10, round * 10 + 4);
      alice.unplugged = false;
      await count(bob.client, roomId, round * 10 + 5, round * 10 + 9);
      // The sender too loses its connection, with messages under way.
      const sending = bob.client.room(roomId).send(`cut ${round}`);
      bob.cut();
      await sending;
    }
    await saw(seen, 44);
    await saw(own, 44);
    const log = await logAfter(bob.client.room(roomId), 0);
    expect(log).toHaveLength(44);
    expect(essence(seen)).toEqual(essence(log));
    expect(essence(own)).toEqual(essence(log));
    expect(seen.some(({ recovered }) => recovered)).toBe(true);
    await vi.waitFor(() => expect([alice.client.state, bob.client.state]).toEqual(["open", "open"]), WAIT);
  });

  it("finds with a sync what no frame has told", async () => {
    const roomId = fresh();
    const alice = await participant("alice", { syncIntervalMs: 3_000 });
    const bob = await participant("bob");
    const seen = collect(alice.client.room(roomId));
    await alice.client.room(roomId).join();
    await bob.client.room(roomId).send("first");
    await saw(seen, 1);
    // A second message, which follows on the first without a gap, so that a beat follows its frame.
    await bob.client.room(roomId).send("before");
    await saw(seen, 2);
    // Past the look at the log that follows a join.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    // Lets no broadcast through any more, and says nothing about it.
    for (const socket of alice.sockets) {
      const { onmessage } = socket;
      socket.onmessage = (event) => {
        if (!String(event.data).includes('"type":"messages"')) onmessage?.call(socket, event);
      };
    }
    await bob.client.room(roomId).send("unheard");
    await saw(seen, 3);
    expect(seen[2]).toMatchObject({ data: "unheard", recovered: true });
  });

  it("hands over to new connections in the middle of it all", async () => {
    const roomId = fresh();
    const alice = await participant("alice", { handoverAfterMs: 4_000 });
    const bob = await participant("bob");
    const changes: string[] = [];
    alice.client.on("state", ({ state }) => changes.push(state));
    const seen = collect(alice.client.room(roomId));
    await alice.client.room(roomId).join();
    const end = Date.now() + 15_000;
    let sent = 0;
    while (Date.now() < end) {
      await bob.client.room(roomId).send(++sent);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await saw(seen, sent);
    expect(texts(seen)).toEqual(Array.from({ length: sent }, (_, n) => n + 1));
    expect(alice.sockets.length).toBeGreaterThanOrEqual(3);
    expect(changes).toEqual([]);
  }, 90_000);

  it("accepts that messages of one key were conflated, and loses no other", async () => {
    const roomId = fresh();
    const alice = await participant("alice");
    const bob = await participant("bob");
    const seen = collect(alice.client.room(roomId));
    await alice.client.room(roomId).join();
    const sends = Array.from({ length: 20 }, (_, version) =>
      bob.client.room(roomId).send({ version }, { key: "price", version, unordered: true }),
    );
    await Promise.all(sends);
    await bob.client.room(roomId).send("end");
    await vi.waitFor(() => expect(seen.at(-1)?.data).toBe("end"), WAIT);
    const log = await logAfter(bob.client.room(roomId), 0);
    expect(log).toHaveLength(21);
    expect(alice.client.room(roomId).seq).toBe(log.at(-1)?.seq);
    const logged = new Map(essence(log).map((message) => [(message as Message).seq, message]));
    expect(essence(seen)).toEqual(seen.map(({ seq }) => logged.get(seq)));
    expect(seen.some(({ version }) => version === 19)).toBe(true);
  });

  it("shows who joins what every key has, and then what becomes of it", async () => {
    const roomId = fresh();
    const alice = await participant("alice");
    const { state: prices } = (await participant("bob")).client.room(roomId);
    await prices.set("EURUSD", 1.08, { version: 1 });
    await prices.set("EURUSD", 1.09, { version: 2 });
    await prices.set("GBPUSD", 1.27);
    await prices.set("DEM", 1.9, { version: 1 });
    await prices.remove("DEM", { version: 2 });
    const room = alice.client.room(roomId);
    await vi.waitFor(async () => expect(await logAfter(room, 0)).toHaveLength(5), WAIT);
    const told: string[] = [];
    room.state.on("change", ({ key, entry, reason }) => told.push(`${key} ${reason} ${entry?.data ?? ""}`));
    await room.join({ state: true });
    await room.state.ready;
    const shown = () => Object.fromEntries([...room.state].map(([key, { data }]) => [key, data]));
    expect([shown(), told]).toEqual([{ EURUSD: 1.09, GBPUSD: 1.27 }, []]);
    expect(room.state.get("EURUSD")).toMatchObject({ version: 2, from: "bob" });
    await prices.set("EURUSD", "old", { version: 1 });
    await prices.set("DEM", "old", { version: 1 });
    await prices.remove("GBPUSD");
    await prices.set("USDJPY", 150, { ttlSeconds: 10 });
    await vi.waitFor(() => expect(told).toEqual(["GBPUSD removed ", "USDJPY set 150", "USDJPY expired "]), WAIT);
    alice.unplugged = true;
    alice.cut();
    await prices.set("EURUSD", 1.1, { version: 3 });
    await prices.set("CHFUSD", 1.2);
    alice.unplugged = false;
    await vi.waitFor(() => expect(shown()).toEqual({ EURUSD: 1.1, CHFUSD: 1.2 }), WAIT);
  }, 90_000);

  it("shows members who is there, once for each, and what they say", async () => {
    const roomId = `presence:${fresh()}`;
    const [alice, bob, tab] = await Promise.all(["alice", "bob", "bob"].map((sub) => participant(sub)));
    const { presence } = alice?.client.room(roomId) ?? {};
    if (!alice || !bob || !tab || !presence) throw new Error("nobody is there");
    const told: string[] = [];
    presence.on("joined", ({ id }) => told.push(`+${id}`));
    presence.on("left", ({ id }) => told.push(`-${id}`));
    await alice.client.room(roomId).join({ presence: { name: "Ann" } });
    expect(presence.members).toEqual([{ id: "alice", data: { name: "Ann" } }]);
    const others = [bob, tab].map(({ client }) => client.room(roomId));
    await others[0]?.join({ presence: true });
    await vi.waitFor(
      () => expect(presence.members).toEqual([{ id: "alice", data: { name: "Ann" } }, { id: "bob" }]),
      WAIT,
    );
    await others[1]?.join({ presence: { tab: 2 } });
    await vi.waitFor(() => expect(presence.members[1]).toEqual({ id: "bob", data: { tab: 2 } }), WAIT);
    await presence.update({ name: "Ann", away: true });
    for (const other of others)
      await vi.waitFor(() => expect(other.presence.members[0]?.data).toEqual({ name: "Ann", away: true }), WAIT);
    expect([presence.count, told]).toEqual([2, ["+bob"]]);
    await expect(presence.page({ limit: 1 })).resolves.toMatchObject({
      members: [{ id: "alice" }],
      count: 2,
      next: "alice",
    });
    for (const other of others) await other.leave();
    await vi.waitFor(() => expect(presence.members.map(({ id }) => id)).toEqual(["alice"]), WAIT);
    expect([presence.count, told]).toEqual([1, ["+bob", "-bob"]]);
  }, 180_000);

  it("passes what is said for now to those who are there, and logs none of it", async () => {
    const roomId = fresh();
    const alice = (await participant("alice")).client.room(roomId);
    const bob = (await participant("bob")).client.room(roomId);
    const seen: unknown[] = [];
    bob.on("ephemeral", ({ from, key, data }) => seen.push([from, key, data]));
    await bob.join();
    // Some ephemeral messages may be lost.
    const says = async () => {
      await alice.sendEphemeral(true, { key: "typing", minIntervalMs: 2_000 });
      expect(seen[0]).toEqual(["alice", "typing", true]);
    };
    await vi.waitFor(says, WAIT);
    expect(await logAfter(alice, 0)).toEqual([]);
    await expect(alice.sendEphemeral("x".repeat(4_095))).rejects.toMatchObject({ code: "too_large" });
  });

  it("gets typed errors for what is not allowed, and keeps its connection", async () => {
    const alice = await participant("alice");
    await expect(alice.client.room("user:bob").join()).rejects.toMatchObject({ code: "forbidden", retryable: false });
    await alice.client.room("user:alice").join();
    await expect(alice.client.room("r").send("x".repeat(33_000))).rejects.toMatchObject({ code: "too_large" });
    const roomId = fresh();
    const room = alice.client.room(roomId);
    const seen = collect(room);
    await room.join();
    await room.send("x".repeat(31_000));
    await saw(seen, 1);
    await room.leave();
    await room.send("unseen");
    // What is logged after the join is seen.
    await vi.waitFor(async () => expect(await logAfter(room, seen[0]?.seq ?? 0)).toHaveLength(1), WAIT);
    await room.join();
    await room.send("seen");
    await saw(seen, 2);
    expect(seen[1]?.data).toBe("seen");
    expect(alice.sockets).toHaveLength(1);
    expect(alice.errors).toEqual([]);
  });

  it("keeps trying when the handshake is refused, and says so", async () => {
    const made = new Participant("alice", { token: "not-a-token" });
    participants.push(made);
    made.client.connect().catch(() => {});
    await vi.waitFor(() => expect(made.errors.length).toBeGreaterThanOrEqual(2), WAIT);
    expect(new Set(made.errors)).toEqual(new Set(["connect_failed"]));
    expect(made.client.state).toBe("connecting");
  });
});
