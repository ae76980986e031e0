import type { LoggedMessage } from "../../../src/frames.js";
import { RoomLog } from "../../support/room-log.js";
import type { VirtualTime } from "../virtual-time.js";
import type { Faults } from "./faults.js";

/** A call to a table was refused for good: it is out of rate. */
export class Throttled extends Error {}

/** A connection's row in a room. */
export interface Row {
  joinedAt: number;
  expiresAt: number;
}

/** A row as the table, an eventually consistent read and the index have it. */
interface Cell {
  row: Row | undefined;
  before: Row | undefined;
  changedAt: number;
  indexed: Row | undefined;
  /** Changes that the index does not show yet, in their order. */
  pending: { at: number; row: Row | undefined }[];
}

/** Rows outlive the longest connection (`CONNECTION_TTL_SECONDS`). */
const ROW_LIFE_MS = 130 * 60_000;

/** Connections: `(connection, room)`, with the index of a room's members, which lags behind. */
export class ConnectionsTable {
  readonly #time: VirtualTime;
  readonly #faults: Faults;
  readonly #byConnection = new Map<string, Map<string, Cell>>();
  readonly #byRoom = new Map<string, Map<string, Cell>>();

  constructor(time: VirtualTime, faults: Faults) {
    this.#time = time;
    this.#faults = faults;
  }

  /** Puts a row, which lives no longer than the connection's token. That ends in `leftMs`. */
  put(connection: string, room: string, leftMs = ROW_LIFE_MS): void {
    const { now } = this.#time;
    this.#write(connection, room, { joinedAt: now, expiresAt: now + Math.min(ROW_LIFE_MS, leftMs) });
  }

  delete(connection: string, room: string): void {
    if (this.#byConnection.get(connection)?.get(room)?.row !== undefined) this.#write(connection, room, undefined);
  }

  has(connection: string, room: string): boolean {
    return this.#byConnection.get(connection)?.get(room)?.row !== undefined;
  }

  /** The connection's own rows, by an eventually consistent query. */
  rowsOf(connection: string): Map<string, Row> {
    const seenAt = this.#time.now - this.#faults.staleMs();
    const rows = new Map<string, Row>();
    for (const [room, cell] of this.#byConnection.get(connection) ?? []) {
      const row = cell.changedAt <= seenAt ? cell.row : cell.before;
      if (row !== undefined) rows.set(room, row);
    }
    return rows;
  }

  /** The members of a room as the index shows them now. */
  members(room: string): [connection: string, row: Row][] {
    const { now } = this.#time;
    const members: [string, Row][] = [];
    for (const [connection, cell] of this.#byRoom.get(room) ?? []) {
      while (cell.pending[0] !== undefined && cell.pending[0].at <= now) cell.indexed = cell.pending.shift()?.row;
      if (cell.indexed !== undefined) {
        if (cell.indexed.expiresAt > now) members.push([connection, cell.indexed]);
      } else if (cell.row === undefined && cell.pending.length === 0) this.#forget(connection, room);
    }
    return members;
  }

  #write(connection: string, room: string, row: Row | undefined): void {
    const cell = this.#cell(connection, room);
    const { now } = this.#time;
    cell.before = cell.row;
    cell.row = row;
    cell.changedAt = now;
    const at = Math.max(now + this.#faults.indexLagMs(), cell.pending.at(-1)?.at ?? 0);
    cell.pending.push({ at, row });
  }

  #cell(connection: string, room: string): Cell {
    const rooms = mapOf(this.#byConnection, connection);
    let cell = rooms.get(room);
    if (cell === undefined) {
      cell = { row: undefined, before: undefined, changedAt: 0, indexed: undefined, pending: [] };
      rooms.set(room, cell);
      mapOf(this.#byRoom, room).set(connection, cell);
    }
    return cell;
  }

  #forget(connection: string, room: string): void {
    this.#byRoom.get(room)?.delete(connection);
    const rooms = this.#byConnection.get(connection);
    rooms?.delete(room);
    if (rooms?.size === 0) this.#byConnection.delete(connection);
  }
}

/** The head row of a log. */
interface Head {
  seq: number;
  appendedAt: number;
}

/** The result of a strong read of a log. */
interface Found {
  /** The newest number that the log has, or had before everything expired. */
  seq: number;
  messages: LoggedMessage[];
  more: boolean;
  truncated: boolean;
}

/** Messages: a log for each room, with its retention, and its head row, which outlives it. */
export class MessagesTable {
  readonly retentionMs: number;
  readonly #time: VirtualTime;
  readonly #faults: Faults;
  readonly #logs = new Map<string, RoomLog>();
  /** The head rows of the last moments, newest last, for reads that are behind. */
  readonly #heads = new Map<string, Head[]>();

  constructor(time: VirtualTime, faults: Faults, retentionMs: number) {
    this.#time = time;
    this.#faults = faults;
    this.retentionMs = retentionMs;
  }

  log(room: string): RoomLog {
    let log = this.#logs.get(room);
    if (log === undefined) this.#logs.set(room, (log = new RoomLog()));
    const oldest = this.#time.now - this.retentionMs;
    if ((log.retained[0]?.sentAt ?? oldest) < oldest) log.expireBefore(oldest);
    return log;
  }

  /** Appends messages and writes the head row, as the fan-out does before it posts. */
  append(room: string, count: number): LoggedMessage[] {
    const log = this.log(room);
    const drafts = Array.from({ length: count }, (_, index) => {
      const id = `${room}-${log.all.length + index}`;
      return { id, from: "producer", data: id };
    });
    const appended = log.append(drafts);
    let heads = this.#heads.get(room);
    if (heads === undefined) this.#heads.set(room, (heads = []));
    heads.push({ seq: appended.at(-1)?.seq ?? 0, appendedAt: this.#time.now });
    if (heads.length > 8) heads.shift();
    return appended;
  }

  /** The head row, by an eventually consistent read through an environment's cache. */
  head(room: string): Head | undefined {
    const seenAt = this.#time.now - this.#faults.staleMs();
    const heads = this.#heads.get(room) ?? [];
    let at = heads.length - 1;
    while (at >= 0 && (heads[at]?.appendedAt ?? 0) > seenAt) at--;
    return heads[at];
  }

  /** Up to `limit` messages after a number, by a strong read. */
  read(room: string, after: number, limit: number): Found {
    const { all, retained } = this.log(room);
    const seq = all.at(-1)?.seq ?? 0;
    const from = retained.findIndex((message) => message.seq > after);
    const messages = from === -1 ? [] : retained.slice(from, from + limit);
    const more = from !== -1 && from + limit < retained.length;
    const lastExpired = all[all.length - retained.length - 1]?.seq ?? 0;
    const truncated = after > 0 && (lastExpired > after || after > seq);
    return { seq, messages, more, truncated };
  }
}

function mapOf<K, L, V>(maps: Map<K, Map<L, V>>, key: K): Map<L, V> {
  let map = maps.get(key);
  if (map === undefined) maps.set(key, (map = new Map()));
  return map;
}
