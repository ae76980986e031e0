import { type Message, type Room, Roomcast, type TokenProvider } from "../../src/index.js";
import { type History, violations } from "../support/history-checker.js";
import type { Random } from "../support/random.js";
import type { SimulatedSocket } from "./model/gateway.js";
import { Model } from "./model/model.js";
import type { VirtualTime } from "./virtual-time.js";
import { Watch } from "./watch.js";
import { Weather } from "./weather.js";

const MINUTE = 60_000;
/** Time in which things happen to the clients. After it everything heals. */
const TROUBLED_MS = 30 * MINUTE;
/** The longest time between two beats, and a minute for a beat and a reconnect. */
const HEALING_MS = 9 * MINUTE + MINUTE;

interface Participant {
  name: string;
  client: Roomcast;
  /** The current history of each room that it is in. */
  current: Map<string, History>;
}

/** The result of a run. */
export interface Outcome {
  wrong: string[];
  timeline: string[];
  longestDeafMs: number;
  seen: number;
  recovered: number;
  connections: number;
  /** Rows that a confirmed 410 cost, of living connections too. */
  rowsDeleted: number;
}

/** Half an hour of a few clients in rooms that are active and silent by turns, while everything fails. */
export class LongRun {
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #watch: Watch;
  readonly #model: Model;
  readonly #rooms: string[];
  /**
   * Rooms in which nothing is ever said, for one client in one run of a hundred: 40 to 60, where a beat can name 50.
   * When joins fail, its rooms wait for each other, so it is not measured how long that client is deaf.
   */
  readonly #silent: string[];
  readonly #participants: Participant[] = [];
  readonly #histories: { room: string; history: History; isOver: boolean }[] = [];
  readonly #endAt: number;

  constructor(time: VirtualTime, random: Random, isTold: boolean) {
    this.#time = time;
    this.#random = random;
    this.#endAt = time.now + TROUBLED_MS;
    this.#weather = new Weather(random);
    this.#watch = new Watch(time, isTold);
    const retentionMs = random.chance(0.5) ? 24 * 60 * MINUTE : random.int(1, 10) * MINUTE;
    this.#model = new Model(time, random, this.#weather, this.#watch, retentionMs);
    this.#silent = Array.from({ length: random.chance(0.01) ? random.int(40, 60) : 0 }, (_, index) => `silent${index}`);
    this.#rooms = Array.from({ length: random.int(1, 3) }, (_, index) => `room${index}`);
    for (let index = random.int(2, 4); index > 0; index--) this.#participants.push(this.#participant(`client${index}`));
  }

  async run(): Promise<Outcome> {
    for (const participant of this.#participants) {
      participant.client.connect().catch(() => {});
      for (const room of this.#rooms) if (this.#random.chance(0.8)) this.#join(participant, room);
    }
    for (const room of this.#silent) this.#join(this.#participants[0] as Participant, room);
    for (const room of this.#rooms) this.#converse(room);
    this.#every(20_000, 120_000, () => this.#weather.change());
    this.#every(5_000, 120_000, () => this.#act());
    await this.#time.pass(TROUBLED_MS);
    this.#weather.heal();
    await this.#time.pass(HEALING_MS);
    const wrong = this.#verdict();
    for (const room of this.#rooms) this.#model.fanout.publish(room, 1);
    await this.#time.pass(MINUTE);
    wrong.push(...this.#strays());
    for (const { client } of this.#participants) client.close();
    await this.#time.pass(MINUTE);
    const seen = this.#histories.flatMap(({ history }) => history.seen);
    return {
      wrong,
      timeline: this.#watch.timeline,
      longestDeafMs: this.#watch.longest,
      seen: seen.length,
      recovered: seen.filter(({ recovered }) => recovered).length,
      connections: [...this.#model.gateway.dials.values()].reduce((sum, dials) => sum + dials, 0),
      rowsDeleted: this.#model.fanout.deleted,
    };
  }

  #participant(name: string): Participant {
    const random = this.#random;
    const client = new Roomcast({
      url: "ws://simulated",
      token: this.#tokens(name),
      WebSocket: this.#model.gateway.WebSocket,
      // Hand-overs within the run, or as in production.
      ...(random.chance(0.3) && { handoverAfterMs: random.int(5, 20) * MINUTE }),
    });
    client.on("error", (error) => {
      this.#watch.note(name, () => `error ${error.code} ${error.message}`);
      if (!error.retryable) this.#watch.wrong.push(`${name}: ${error.code} ${error.message}`);
    });
    return { name, client, current: new Map() };
  }

  /**
   * The token of a client: for most its name, which is a token without an end; for the others tokens of some minutes,
   * from a provider that may fail, or keep them too long.
   */
  #tokens(name: string): string | TokenProvider {
    const random = this.#random;
    if (random.chance(0.7)) return name;
    const { tokens } = this.#model;
    const ms = random.int(1, 15) * MINUTE;
    const keeps = random.chance(0.3);
    let kept = "";
    return ({ refused }) => {
      if (random.chance(0.1)) throw new Error("the token service is down");
      const isGood = kept !== "" && tokens.left(kept) > 0 && (keeps || !refused);
      if (!isGood) kept = tokens.issue(name, ms);
      return kept;
    };
  }

  #every(min: number, max: number, run: () => void): void {
    const next = () => {
      if (this.#time.now >= this.#endAt) return;
      run();
      this.#time.after(this.#random.int(min, max), next);
    };
    this.#time.after(this.#random.int(min, max), next);
  }

  /** Messages of a room: minutes of activity and of silence by turns. */
  #converse(room: string): void {
    const random = this.#random;
    let isActive = random.chance(0.5);
    let until = this.#time.now;
    let slowest = 8_000;
    const next = () => {
      const { now } = this.#time;
      if (now >= this.#endAt) return;
      if (now >= until) {
        isActive = !isActive;
        until = now + (isActive ? random.int(1, 6) : random.int(1, 16)) * MINUTE;
        slowest = random.pick([3_000, 8_000, 8_000]);
      }
      if (!isActive) return void this.#time.after(until - now, next);
      this.#model.fanout.publish(room, random.chance(0.9) ? 1 : random.int(2, 25));
      this.#time.after(random.int(500, slowest), next);
    };
    next();
  }

  #act(): void {
    const random = this.#random;
    const who = random.pick(this.#participants);
    const room = random.pick(this.#rooms);
    const action = random.int(1, 100);
    if (action <= 40) this.#join(who, room);
    else if (action <= 60) this.#leave(who, room);
    else this.#hurt(who.name, action <= 85);
  }

  #hurt(name: string, isCut: boolean): void {
    const { gateway } = this.#model;
    const open = [...gateway.sockets.values()].filter((socket) => socket.client === name && socket.isAlive);
    if (open.length === 0) return;
    const socket: SimulatedSocket = this.#random.pick(open);
    if (isCut) return gateway.close(socket, this.#random.pick([1001, 1006, 1011]));
    socket.frozen = true;
    this.#watch.note(name, () => `${socket.connection} freezes`);
  }

  #join(who: Participant, roomId: string): void {
    if (who.current.has(roomId)) return;
    const room = who.client.room(roomId);
    const isTrimmed = this.#model.messages.retentionMs < TROUBLED_MS;
    // 0 is no position but "all that is retained", which tells of no loss: with a retention it proves nothing.
    const resume = room.seq !== undefined && room.seq > 0 && this.#random.chance(0.5) ? room.seq : undefined;
    const after = resume ?? (!isTrimmed && this.#random.chance(0.3) ? 0 : undefined);
    const history: History = { who: `${who.name}/${roomId}`, start: after ?? 0, seen: [], truncated: [] };
    who.current.set(roomId, history);
    const stops = this.#record(room, history);
    room.once("joined", ({ seq }) => {
      if (who.current.get(roomId) !== history) return;
      if (after === undefined) history.start = seq;
      this.#histories.push({ room: roomId, history, isOver: false });
      if (this.#silent.length === 0 || who !== this.#participants[0]) this.#watch.joined(who.name, roomId);
    });
    room.once("left", () => {
      for (const stop of stops) stop();
      this.#watch.left(who.name, roomId);
      this.#forget(who, roomId, history);
    });
    // A join that takes too long is rejected; the room's events tell what becomes of it.
    room.join(after === undefined ? {} : { after }).catch(() => {});
  }

  #record(room: Room, history: History): (() => void)[] {
    const log = this.#model.messages.log(room.id);
    const stopTruncated = room.on("truncated", (hole) => {
      // An empty log can only have dropped what it had until now.
      history.truncated.push({ ...hole, seq: hole.seq === 0 ? (log.all.at(-1)?.seq ?? 0) + 1 : hole.seq });
    });
    return [stopTruncated, room.on("message", (message: Message) => history.seen.push(message))];
  }

  #leave(who: Participant, roomId: string): void {
    if (!who.current.has(roomId)) return;
    who.client
      .room(roomId)
      .leave()
      .catch(() => {});
  }

  #forget(who: Participant, roomId: string, history: History): void {
    if (who.current.get(roomId) === history) who.current.delete(roomId);
    const entry = this.#histories.find((other) => other.history === history);
    if (entry !== undefined) entry.isOver = true;
  }

  /**
   * Clients that are still members of rooms that they have left. A join that runs late may come after the leave; its
   * client leaves again when a broadcast tells it.
   */
  #strays(): string[] {
    const sockets = [...this.#model.gateway.sockets].filter(([, socket]) => socket.isAlive);
    return this.#participants.flatMap(({ name, current }) => {
      const connections = sockets.filter(([, socket]) => socket.client === name).map(([connection]) => connection);
      const rooms = this.#rooms.filter((room) => !current.has(room));
      const strays = rooms.filter((room) =>
        connections.some((connection) => this.#model.connections.has(connection, room)),
      );
      return strays.map((room) => `${name} is still a member of ${room} in the end`);
    });
  }

  #verdict(): string[] {
    const wrong = [...this.#watch.wrong];
    for (const { room, history, isOver } of this.#histories) {
      const log = this.#model.messages.log(room);
      wrong.push(...violations(history, log, isOver ? (history.seen.at(-1)?.seq ?? 0) : undefined));
    }
    for (const { name, client, current } of this.#participants) {
      if (client.state !== "open") wrong.push(`${name} is ${client.state} in the end`);
      const connections = [...this.#model.gateway.sockets].filter(
        ([, socket]) => socket.client === name && socket.isAlive,
      );
      for (const room of current.keys()) {
        const isMember = connections.some(([connection]) => this.#model.connections.has(connection, room));
        if (!isMember) wrong.push(`${name} is no member of ${room} in the end`);
      }
    }
    return wrong;
  }
}
