import { vi } from "vitest";
import { type Message, type Room, Roomcast, type RoomcastError } from "../../src/index.js";
import { CALM, FakeNetwork, type FakeSocket } from "./fake-network.js";
import { type History, violations } from "./history-checker.js";
import type { Random } from "./random.js";
import { randomOptions, randomWeather } from "./random-runs.js";
import { ScriptedServer } from "./scripted-server.js";

const ROOMS = ["chat", "prices"];
const RETENTION_MS = 120_000;

/** Codes with which a chaotic run may reject a call; anything else is a bug. */
const EXPECTED = ["timeout", "left", "closed"];

interface Participant {
  name: string;
  client: Roomcast;
  /** The current history of each room that it is in. */
  current: Map<string, History>;
}

/** A random run of clients, a producer, and a network and a server that fail. Everything follows from the generator. */
export class Chaos {
  readonly #random: Random;
  readonly #server = new ScriptedServer();
  readonly #network = new FakeNetwork(this.#server);
  readonly #participants: Participant[] = [];
  readonly #histories: { roomId: string; history: History; closed: boolean }[] = [];
  /** Functions that end the recording of a history. */
  readonly #stops = new Map<History, () => void>();
  readonly #floors = new Map<string, number>();
  readonly #accepted: { roomId: string; id: string }[] = [];
  readonly #unexpected: string[] = [];
  readonly #retention: boolean;
  #errorRate = 0;
  #silenceRate = 0;
  #isHealed = false;
  #sent = 0;

  constructor(random: Random, options: { retention: boolean }) {
    this.#random = random;
    this.#retention = options.retention;
    const server = this.#server;
    server.pageSize = random.int(1, 20);
    server.packSize = random.int(1, 10);
    const lag = random.int(0, 500);
    server.indexLag = () => random.int(0, lag);
    server.retentionSeconds = options.retention ? RETENTION_MS / 1_000 : 86_400;
    server.budget = random.chance(0.5) ? Number.POSITIVE_INFINITY : random.int(1, 20);
    const headLag = random.int(0, 500);
    server.headLag = () => random.int(0, headLag);
    const remember = random.chance(0.7);
    for (const roomId of ROOMS) server.log(roomId).remembers = remember;
    server.expiry.hint = random.chance(0.7);
    server.expiry.reason = random.chance(0.7);
    server.broadcastDelay = () => random.int(0, 300);
    server.script = (frame, peer) => {
      if (frame.action === "joinRoom" && frame["after"] === undefined && server.log(frame.roomId ?? "").head === 0) {
        const last = server.log(frame.roomId ?? "").all.at(-1)?.seq ?? 0;
        this.#floors.set(`${peer.sub}/${frame.roomId}`, last);
      }
      if (random.chance(this.#silenceRate)) return "silence";
      if (random.chance(this.#errorRate)) {
        const code = random.pick(["rate_limited", "unavailable"]);
        return random.chance(0.5) ? { code } : { code, retryAfterMs: random.int(0, 2_000) };
      }
      return undefined;
    };
    this.#setWeather();
    for (let n = 0; n < random.int(2, 3); n++) this.#participants.push(this.#participant(`client${n}`));
  }

  /** Runs `steps` random steps, then lets the network heal, and returns what is wrong. */
  async run(steps: number): Promise<string[]> {
    for (const { client } of this.#participants) void client.connect();
    for (let step = 0; step < steps; step++) {
      this.#act();
      if (this.#random.chance(0.05)) this.#setWeather();
      if (this.#random.chance(0.03)) this.#server.unsynced.add(this.#random.pick(ROOMS));
      if (this.#random.chance(0.06)) this.#server.unsynced.clear();
      await vi.advanceTimersByTimeAsync(this.#random.int(0, 3_000));
      if (this.#retention) this.#expire();
    }
    this.#heal();
    // One frame in every room, so that every member has a beat due soon.
    for (const roomId of ROOMS) this.#produce(roomId, 1);
    // Enough for a dead connection to be noticed by a beat, up to 9 minutes later, a capped backoff and a round of
    // beats.
    await vi.advanceTimersByTimeAsync(700_000);
    const wrong = this.#verdict();
    for (const { client } of this.#participants) client.close();
    await vi.advanceTimersByTimeAsync(60_000);
    if (vi.getTimerCount() > 0) wrong.push(`${vi.getTimerCount()} timers survive close()`);
    return wrong;
  }

  /** Drops what has expired, in any order, and some of it later. */
  #expire(): void {
    const oldest = Date.now() - RETENTION_MS;
    for (const log of this.#server.logs.values()) log.expireBefore(oldest, () => this.#random.chance(0.3));
  }

  /** Counts of messages that applications saw: a run in which nothing happens proves nothing. */
  get activity(): { seen: number; recovered: number; connections: number } {
    const seen = this.#histories.flatMap(({ history }) => history.seen);
    const recovered = seen.filter((message) => message.recovered).length;
    return { seen: seen.length, recovered, connections: this.#network.sockets.length };
  }

  #participant(name: string): Participant {
    const random = this.#random;
    // Some tokens expire, in a second or in minutes.
    const lifeMs = random.chance(0.3) ? random.int(1_000, 120_000) : undefined;
    const client = new Roomcast({
      ...randomOptions(random),
      token: () => {
        if (random.chance(0.05)) throw new Error("the token service is down");
        return lifeMs === undefined || this.#isHealed ? name : this.#server.issue(name, lifeMs);
      },
      WebSocket: this.#network.WebSocket,
      reorderWindowMs: random.int(0, 200),
      joinConcurrency: random.int(1, 4),
      bufferSize: random.chance(0.3) ? random.int(1, 10) : 1_000,
    });
    client.on("error", (error: RoomcastError) => {
      if (!error.retryable) this.#unexpected.push(`${name}: ${error.code} ${error.message}`);
    });
    return { name, client, current: new Map() };
  }

  #setWeather(): void {
    const random = this.#random;
    const stall = random.next() * 0.1;
    this.#network.weather = { ...randomWeather(random), stalls: () => random.chance(stall) };
    this.#errorRate = random.chance(0.5) ? 0 : random.next() * 0.2;
    this.#silenceRate = random.chance(0.7) ? 0 : random.next() * 0.1;
  }

  #heal(): void {
    this.#isHealed = true;
    this.#network.weather = CALM;
    this.#errorRate = this.#silenceRate = 0;
    this.#server.indexLag = this.#server.headLag = () => 0;
    this.#server.unsynced.clear();
  }

  #act(): void {
    const random = this.#random;
    const who = random.pick(this.#participants);
    const roomId = random.pick(ROOMS);
    const action = random.int(1, 100);
    if (action <= 40) this.#send(who, roomId, random.int(1, 4));
    else if (action <= 65) this.#produce(roomId, random.int(1, 15));
    else if (action <= 80) void this.#join(who, roomId);
    else if (action <= 83) void this.#leave(who, roomId);
    else if (action === 84) this.#restart(who);
    else this.#hurt(action);
  }

  #hurt(action: number): void {
    const { open } = this.#network;
    if (open.length === 0) return;
    const socket: FakeSocket = this.#random.pick(open);
    const known = this.#random.chance(0.7);
    if (action <= 90) this.#server.loseRow(this.#random.pick(ROOMS), socket);
    else if (action <= 97) socket.cut(this.#random.pick([1001, 1006, 1011]), known);
    else socket.freeze(known);
  }

  #send(who: Participant, roomId: string, count: number): void {
    for (let n = 0; n < count; n++) {
      const data = { n: this.#sent++ };
      who.client
        .room(roomId)
        .send(data, { unordered: this.#random.chance(0.2) })
        .then(
          ({ id }) => this.#accepted.push({ roomId, id }),
          (error: RoomcastError) => this.#rejected(who, error),
        );
    }
  }

  #produce(roomId: string, count: number): void {
    const drafts = Array.from({ length: count }, () => {
      const data = { n: this.#sent++ };
      return this.#random.chance(0.5)
        ? { data, key: this.#random.pick(["a", "b"]), version: this.#random.int(0, 9) }
        : { data };
    });
    this.#server.publish(roomId, drafts);
  }

  async #join(who: Participant, roomId: string): Promise<void> {
    const room = who.client.room(roomId);
    if (who.current.has(roomId)) return;
    // 0 is no position but "all that is retained", which tells of no loss: with a retention it proves nothing.
    const resume =
      room.seq !== undefined && (room.seq > 0 || !this.#retention) && this.#random.chance(0.5) ? room.seq : undefined;
    const all = !this.#retention && this.#random.chance(0.3) ? 0 : undefined;
    const after = resume ?? all;
    const history: History = { who: `${who.name}/${roomId}`, start: after ?? 0, seen: [], truncated: [] };
    const stop = this.#record(room, history);
    who.current.set(roomId, history);
    this.#stops.set(history, stop);
    const isCurrent = () => who.current.get(roomId) === history;
    const begin = (seq: number) => {
      if (!isCurrent()) return;
      if (after === undefined) history.start = seq === 0 ? (this.#floors.get(history.who) ?? 0) : seq;
      this.#histories.push({ roomId, history, closed: false });
      room.once("left", stop);
    };
    try {
      begin((await room.join(after === undefined ? {} : { after })).seq);
    } catch (error) {
      this.#rejected(who, error as RoomcastError);
      // The library goes on trying: some applications wait, some do not.
      if ((error as RoomcastError).code === "timeout" && this.#random.chance(0.5)) {
        room.once("joined", ({ seq }) => begin(seq));
        return;
      }
      stop();
      if (!isCurrent()) return;
      who.current.delete(roomId);
      void room.leave();
    }
  }

  /** Collects what the application sees, by events or by a loop that may be slow. */
  #record(room: Room, history: History): () => void {
    const log = this.#server.log(room.id);
    const stopTruncated = room.on("truncated", (hole) => {
      // An empty log can only have dropped what it had until now.
      history.truncated.push({ ...hole, seq: hole.seq === 0 ? (log.all.at(-1)?.seq ?? 0) + 1 : hole.seq });
    });
    if (this.#random.chance(0.5)) {
      const stop = room.on("message", (message: Message) => history.seen.push(message));
      return () => {
        stop();
        stopTruncated();
      };
    }
    const pause = this.#random.chance(0.5) ? 0 : this.#random.int(1, 50);
    const iterator = room[Symbol.asyncIterator]();
    const read = async () => {
      for await (const message of iterator) {
        history.seen.push(message);
        if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      }
    };
    // The loop ends with the error of the join, which is looked at there.
    read().catch(() => {});
    return () => {
      void iterator.return?.();
      stopTruncated();
    };
  }

  async #leave(who: Participant, roomId: string): Promise<void> {
    const history = who.current.get(roomId);
    const entry = this.#histories.find((other) => other.history === history);
    if (entry === undefined) return;
    entry.closed = true;
    who.current.delete(roomId);
    this.#stops.get(entry.history)?.();
    await who.client
      .room(roomId)
      .leave()
      .catch((error: RoomcastError) => this.#rejected(who, error));
  }

  /** Closes a client and connects it again within 5 s: its rooms go on where they stopped, in new histories. */
  #restart(who: Participant): void {
    who.client.close();
    for (const [roomId, old] of [...who.current]) {
      const room = who.client.room(roomId);
      const entry = this.#histories.find(({ history }) => history === old);
      this.#stops.get(old)?.();
      who.current.delete(roomId);
      if (entry === undefined) {
        // Not joined yet: nobody waits for it any more.
        void room.leave();
        continue;
      }
      entry.closed = true;
      const history: History = { who: old.who, start: room.seq ?? 0, seen: [], truncated: [] };
      this.#stops.set(history, this.#record(room, history));
      who.current.set(roomId, history);
      this.#histories.push({ roomId, history, closed: false });
    }
    setTimeout(() => void who.client.connect(), this.#random.int(0, 5_000));
  }

  #rejected(who: Participant, error: RoomcastError): void {
    if (!EXPECTED.includes(error.code)) this.#unexpected.push(`${who.name}: ${error.code} ${error.message}`);
  }

  #verdict(): string[] {
    const wrong = [...this.#unexpected];
    for (const { roomId, history, closed } of this.#histories) {
      const log = this.#server.log(roomId);
      wrong.push(...violations(history, log, closed ? (history.seen.at(-1)?.seq ?? 0) : undefined));
    }
    for (const { roomId, id } of this.#accepted) {
      const times = this.#server.log(roomId).all.filter((message) => message.id === id).length;
      if (times !== 1) wrong.push(`message ${id} was accepted and is in the log of ${roomId} ${times} times`);
    }
    for (const { name, client } of this.#participants) {
      if (client.state !== "open") wrong.push(`${name} is ${client.state}`);
    }
    return wrong;
  }
}
