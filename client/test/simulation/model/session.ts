import type { LoggedMessage } from "../../../src/frames.js";
import type { Beat } from "./beat.js";
import type { Death, Faults } from "./faults.js";
import type { Meter, Usage } from "./meter.js";
import { type ConnectionsTable, type MessagesTable, type Row, Throttled } from "./tables.js";

/** A client's frame. */
export interface ClientFields {
  action: string;
  requestId?: string;
  roomId?: string;
  [field: string]: unknown;
}

/** A reply, or `undefined` when the function died. */
export type Outcome = Record<string, unknown> | undefined;

const SYNC_ROOMS = 50;
/** Messages of one room in a reply, and of all rooms in a reply. */
const PAGE = 25;
const REPLY_BUDGET = 60;
/** Rooms of one `sync` whose logs are read; those beyond are left out. */
const READ_BUDGET = 20;
/** A membership that expires within this time is renewed. */
const RENEW_MS = 20 * 60_000;

/** The `session` function's routes, and `message`'s. */
export class Session {
  /** A message was accepted for the first time. */
  accepted: (room: string) => void = () => {};
  readonly #ids = new Set<unknown>();
  readonly #connections: ConnectionsTable;
  readonly #messages: MessagesTable;
  readonly #beat: Beat;
  readonly #faults: Faults;
  readonly #meter: Meter;

  constructor(connections: ConnectionsTable, messages: MessagesTable, beat: Beat, faults: Faults, meter: Meter) {
    this.#connections = connections;
    this.#messages = messages;
    this.#beat = beat;
    this.#faults = faults;
    this.#meter = meter;
  }

  /**
   * Serves one frame of a connection, whose token ends in `leftMs`; where the function dies, its writes so far stay.
   */
  serve(connection: string, frame: ClientFields, leftMs: number): Outcome {
    const death = this.#faults.dies(frame.action);
    const usage = this.#meter.of(frame.action);
    usage.invocations++;
    if (death === "before it writes") return undefined;
    try {
      const reply = this.#route(connection, frame, leftMs, death, usage);
      return death === undefined ? reply : undefined;
    } catch (thrown) {
      if (!(thrown instanceof Throttled)) throw thrown;
      this.#beat.throttled();
      if (death !== undefined) return undefined;
      const retryAfterMs = this.#faults.retryAfterMs();
      return {
        ...error("rate_limited", "the table is throttled"),
        ...(retryAfterMs !== undefined && { retryAfterMs }),
      };
    }
  }

  /** `$disconnect`: deletes the connection's rows. */
  disconnected(connection: string): void {
    const usage = this.#meter.of("disconnect");
    usage.invocations++;
    usage.tableCalls++;
    usage.readUnits += 0.5;
    const rooms = [...this.#connections.rowsOf(connection).keys()];
    for (const room of rooms) this.#connections.delete(connection, room);
    // One more call takes the connection off those of its subject.
    usage.tableCalls += Math.ceil(rooms.length / 25) + 1;
    usage.writeUnits += 2 * rooms.length + 1;
  }

  #route(connection: string, frame: ClientFields, leftMs: number, death: Death | undefined, usage: Usage): Outcome {
    switch (frame.action) {
      case "joinRoom":
        return this.#joinRoom(connection, frame, leftMs, death, usage);
      case "leaveRoom":
        this.#call(usage);
        // One unit for the table, one for the index.
        usage.writeUnits += 2;
        this.#connections.delete(connection, frame.roomId ?? "");
        return { type: "left", roomId: frame.roomId };
      case "sync":
        return this.#sync(connection, frame["rooms"] as Record<string, number>, leftMs, death, usage);
      case "sendMessage":
        return this.#sendMessage(frame, death);
      case "getHistory":
        return this.#getHistory(frame, usage);
      default:
        return error("unknown_action", frame.action);
    }
  }

  #joinRoom(connection: string, frame: ClientFields, leftMs: number, death: Death | undefined, usage: Usage): Outcome {
    const room = frame.roomId ?? "";
    this.#put(connection, room, leftMs, usage);
    if (death === "after it has written") return undefined;
    // Beside the log, the rooms of the connection are counted.
    usage.tableCalls++;
    this.#call(usage);
    usage.readUnits += 2;
    const after = frame["after"] as number | undefined;
    const found = this.#messages.read(room, after ?? Number.MAX_SAFE_INTEGER, PAGE);
    const caught = after === undefined ? { ...found, messages: [], more: false, truncated: false } : found;
    const newest = this.#messages.log(room).all.at(-1);
    // A late delete, as by a broadcast that began before the join.
    if (this.#faults.losesRow()) this.#connections.delete(connection, room);
    const retentionSeconds = this.#messages.retentionMs / 1_000;
    const joined = {
      type: "joined",
      roomId: room,
      ...caught,
      retentionSeconds,
      syncAfterMs: this.#beat.after(newest?.sentAt),
    };
    return Number.isFinite(leftMs) ? { ...joined, expiresInMs: Math.max(0, leftMs) } : joined;
  }

  #sync(
    connection: string,
    asked: Record<string, number>,
    leftMs: number,
    death: Death | undefined,
    usage: Usage,
  ): Outcome {
    const rooms = Object.entries(asked);
    if (rooms.length > SYNC_ROOMS) return error("bad_request", "a sync has at most 50 rooms");
    this.#call(usage);
    usage.readUnits += 0.5;
    const rows = this.#connections.rowsOf(connection);
    const served: Record<string, object> = Object.create(null) as Record<string, object>;
    const renewed: string[] = [];
    let newestAt: number | undefined;
    let budget = REPLY_BUDGET;
    let reads = 0;
    // The heads, by one batch read whose keys are refused one by one.
    if (rooms.length > 0) usage.tableCalls++;
    for (const [room, after] of rooms) {
      usage.readUnits += 0.5;
      if (this.#isThrottled()) continue;
      if (!this.#isMember(rows.get(room), leftMs)) {
        if (this.#isThrottled()) continue;
        // The index may not show a row at once that was put back.
        if (!rows.has(room)) newestAt = Date.now();
        this.#put(connection, room, leftMs, usage);
        renewed.push(room);
      }
      const head = this.#messages.head(room);
      if ((head?.seq ?? 0) !== after) {
        if (++reads > READ_BUDGET) continue;
        usage.tableCalls++;
        usage.readUnits += 1;
        // A head that is behind the client says nothing: only the log does.
        const found = this.#messages.read(room, after, Math.min(PAGE, budget));
        const more = found.more || (budget === 0 && found.seq > after);
        served[room] = budget === 0 ? { seq: found.seq, messages: [], more, truncated: false } : { ...found, more };
        budget -= found.messages.length;
      } else {
        served[room] = { seq: after, messages: [] satisfies LoggedMessage[], more: false, truncated: false };
      }
      if (head !== undefined) newestAt = Math.max(newestAt ?? 0, head.appendedAt);
    }
    if (renewed.length > 0) {
      // One more call counts the rooms that the connection is in now.
      usage.tableCalls++;
      usage.readUnits += 1;
    }
    if (death === "after it has written") return undefined;
    if (rooms.length > 0 && Object.keys(served).length === 0) throw new Throttled();
    return { type: "synced", rooms: served, renewed, syncAfterMs: this.#beat.after(newestAt) };
  }

  #sendMessage(frame: ClientFields, death: Death | undefined): Outcome {
    const { id } = frame;
    const room = frame.roomId ?? "";
    const isNew = !this.#ids.has(id);
    this.#ids.add(id);
    if (isNew) this.accepted(room);
    return death === "after it has written" ? undefined : { type: "accepted", roomId: room, id };
  }

  #getHistory(frame: ClientFields, usage: Usage): Outcome {
    const room = frame.roomId ?? "";
    this.#call(usage);
    usage.readUnits += 0.5;
    const before = (frame["before"] as number | undefined) ?? Number.MAX_SAFE_INTEGER;
    return {
      type: "history",
      roomId: room,
      ...this.#messages.log(room).history(before, (frame["limit"] as number | undefined) ?? 50),
    };
  }

  /** True if the row need not be renewed. It cannot be renewed beyond the token's end. */
  #isMember(row: Row | undefined, leftMs: number): boolean {
    return row !== undefined && row.expiresAt > Date.now() + Math.min(RENEW_MS, leftMs - 1);
  }

  #put(connection: string, room: string, leftMs: number, usage: Usage): void {
    this.#call(usage);
    usage.writeUnits += 2;
    this.#connections.put(connection, room, leftMs);
  }

  #call(usage: Usage): void {
    usage.tableCalls++;
    if (this.#faults.throttlesTable()) throw new Throttled();
  }

  #isThrottled(): boolean {
    const refused = this.#faults.throttlesTable();
    if (refused) this.#beat.throttled();
    return refused;
  }
}

function error(code: string, message: string): Record<string, unknown> {
  return { type: "error", code, message };
}
