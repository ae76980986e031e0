import type { VirtualTime } from "../virtual-time.js";
import type { Faults } from "./faults.js";
import type { Gateway } from "./gateway.js";
import type { Observer } from "./observer.js";
import type { ConnectionsTable, MessagesTable, Row } from "./tables.js";

/** Messages of one batch, and so of one frame. */
const BATCH = 10;
/** Time until the second post, which must be answered 410 too for a 410 to count. */
const CONFIRM_MS = 1_000;
/** Rows younger than this survive even a confirmed 410. */
const GONE_GRACE_MS = 10_000;
/** Misses in a row at which a connection is closed. */
const MISSES = 3;
/** Deliveries that are looked at to tell whether misses are widespread, and how many of them must be misses. */
const REMEMBERED = 16;
const WIDESPREAD = 8;

interface Step {
  room: string;
  text: string;
  underWay: number;
  /** Connections that did not get the frame. */
  missed: string[];
  /** Connections to close when the broadcast has ended. */
  closing: string[];
}

/** The fan-out: numbers a room's messages, posts them to its members, and goes on when everyone has answered. */
export class Fanout {
  readonly #time: VirtualTime;
  readonly #faults: Faults;
  readonly #connections: ConnectionsTable;
  readonly #messages: MessagesTable;
  readonly #gateway: Gateway;
  readonly #observer: Observer;
  /** Messages that wait, of rooms that are being broadcast to. */
  readonly #queued = new Map<string, number>();
  readonly #misses = new Map<string, number>();
  readonly #recent: boolean[] = [];
  /** Rows deleted after a confirmed 410. */
  deleted = 0;

  constructor(
    time: VirtualTime,
    faults: Faults,
    connections: ConnectionsTable,
    messages: MessagesTable,
    gateway: Gateway,
    observer: Observer,
  ) {
    this.#time = time;
    this.#faults = faults;
    this.#connections = connections;
    this.#messages = messages;
    this.#gateway = gateway;
    this.#observer = observer;
  }

  /** Messages for a room have come. */
  publish(room: string, count: number): void {
    const queued = this.#queued.get(room);
    this.#queued.set(room, (queued ?? 0) + count);
    if (queued === undefined) this.#step(room);
  }

  #step(room: string): void {
    const queued = this.#queued.get(room) ?? 0;
    if (queued === 0) {
      this.#queued.delete(room);
      return;
    }
    const count = Math.min(BATCH, queued);
    this.#queued.set(room, queued - count);
    const messages = this.#messages.append(room, count);
    this.#observer.broadcast(room);
    const members = this.#connections.members(room);
    const text = JSON.stringify({ type: "messages", roomId: room, messages });
    const step: Step = { room, text, underWay: 1 + members.length, missed: [], closing: [] };
    for (const [connection, row] of members) this.#deliver(step, connection, row);
    this.#time.after(this.#faults.latencyMs(), () => this.#done(step));
  }

  #deliver(step: Step, connection: string, row: Row): void {
    const answer = this.#gateway.post(connection, step.room, step.text);
    if (answer === "gone") this.#time.after(CONFIRM_MS, () => this.#confirm(step, connection, row));
    // Retries take their time.
    else if (answer === "failed") this.#time.after(5 * this.#faults.latencyMs(), () => this.#miss(step, connection));
    else this.#delivered(step, connection);
  }

  #confirm(step: Step, connection: string, row: Row): void {
    const answer = this.#gateway.post(connection, step.room, step.text);
    if (answer === "taken") return this.#delivered(step, connection);
    if (answer === "failed" || this.#time.now - row.joinedAt < GONE_GRACE_MS) return this.#miss(step, connection);
    this.#connections.delete(connection, step.room);
    this.deleted++;
    // A connection that lives all the same would hear nothing more.
    step.closing.push(connection);
    this.#done(step);
  }

  #delivered(step: Step, connection: string): void {
    this.#misses.delete(connection);
    this.#remember(false);
    this.#done(step);
  }

  #miss(step: Step, connection: string): void {
    this.#remember(true);
    step.missed.push(connection);
    const misses = (this.#misses.get(connection) ?? 0) + 1;
    this.#misses.set(connection, misses);
    if (misses >= MISSES) step.closing.push(connection);
    this.#done(step);
  }

  #done(step: Step): void {
    if (--step.underWay > 0) return;
    // No frame follows that would show these connections that they have missed one.
    if (this.#queued.get(step.room) === 0) step.closing.push(...step.missed);
    // So many misses are not the fault of single connections, which stay open.
    const isWidespread = this.#recent.filter((missed) => missed).length >= WIDESPREAD;
    if (!isWidespread) for (const connection of new Set(step.closing)) this.#close(connection);
    this.#step(step.room);
  }

  /** Closes a connection, so that its client comes back and reads the log. */
  #close(connection: string): void {
    this.#misses.delete(connection);
    this.#gateway.deleteConnection(connection);
  }

  #remember(missed: boolean): void {
    if (this.#recent.push(missed) > REMEMBERED) this.#recent.shift();
  }
}
