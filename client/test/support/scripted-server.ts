import type { LoggedMessage, StatePage } from "../../src/frames.js";
import { SYNC_ROOMS } from "../../src/limits.js";
import type { ClientFields, Peer, Script } from "./peer.js";
import { type Draft, RoomLog } from "./room-log.js";
import { type MemberRow, RoomMembers } from "./room-members.js";
import { firstOfState, meeting, RoomState, StatePages } from "./room-state.js";
import { SendQueue } from "./send-queue.js";

/** Time after its end for which a token is still taken. */
const LEEWAY_MS = 5_000;
/** Time from the answer to a frame with an expired token until the connection is closed. */
const CLOSE_MS = 20;

/** A row of the connections table. */
interface Membership {
  /** Broadcasts before this time do not reach the member: the index lags behind the table. */
  visibleFrom: number;
  /** Whether `sync` has put it, after it was lost. */
  putBack: boolean;
  /** The row of a connection that is a member. */
  member?: MemberRow | undefined;
}

/** The server's side of the protocol, in memory, without a transport. Tests script its faults. */
export class ScriptedServer {
  readonly logs = new Map<string, RoomLog>();
  readonly frames: ClientFields[] = [];
  script: Script = () => undefined;
  /** Rooms that the answers to `sync` leave out. */
  readonly unsynced = new Set<string>();
  /** Rooms that nobody may join. */
  readonly forbidden = new Set<string>();
  /** Rooms whose log nobody may read: they may be joined from now on only. */
  readonly withoutHistory = new Set<string>();
  /** Expiries of tokens, in Unix milliseconds. Tokens that are not here never expire. */
  readonly expiries = new Map<string, number>();
  /** Signs of an expired token: `hint` in a `joined`, `reason` in the refusal. */
  readonly expiry = { hint: true, reason: true };
  /** Frames with an expired token. */
  expired: ClientFields[] = [];
  /** Messages in one reply for one room. */
  pageSize = 100;
  /** Messages in one `synced` frame: the rooms after the one that spends them get `more` only. */
  budget = Number.POSITIVE_INFINITY;
  retentionSeconds = 86_400;
  /** Wait until the next sync: the age of the newest message of the frame's rooms. Older servers tell none. */
  syncAfterMs: (roomIds: readonly string[]) => number | undefined = (roomIds) => {
    const newest = Math.max(0, ...roomIds.map((roomId) => this.log(roomId).all.at(-1)?.sentAt ?? 0));
    return Math.min(540_000, Math.max(30_000, Date.now() - newest));
  };
  /** Milliseconds by which the heads that `sync` reads lag behind the log. */
  headLag: () => number = () => 0;
  /** Rows that `sync` has put again. */
  renewals = 0;
  /** Messages in one broadcast frame. */
  packSize = 10;
  /** Milliseconds from a message's acceptance to its broadcast. */
  broadcastDelay: () => number = () => 1;
  /** Milliseconds from a join until broadcasts reach the member. */
  indexLag: () => number = () => 0;
  /** Lead of the server's clock over the client's. */
  clockAhead = 0;
  /** Rooms that have no state, and rooms that have no list of members. */
  readonly stateless = new Set<string>();
  readonly unlisted = new Set<string>();
  /** Rooms in which every connection counts, also one that has not asked for the members. */
  readonly counted = new Set<string>();
  /** Keys in one page of a room's state. 0 in `joined`: there is no place for any. */
  statePage = { joined: 1_000, next: 500 };
  /** Time for which pages of state are used again, in milliseconds. */
  stateCacheMs = 0;
  /** Members in a page, in a list, and in a frame of changes; the time within which a member is to sync. */
  presence = { page: 100, list: 500, frame: 100, syncWithinMs: 540_000 };
  /** Milliseconds from a change of a room's members to its publication; infinite: none. */
  presenceDelay: () => number = () => 3_500;
  readonly #states = new Map<string, RoomState>();
  readonly #pages = new StatePages();
  readonly #lists = new Map<string, RoomMembers>();
  readonly #ticks = new Set<string>();
  #rowNumber = 0;
  readonly #members = new Map<string, Map<Peer, Membership>>();
  readonly #queue = new SendQueue(
    (roomId, batch) => this.publish(roomId, batch),
    () => this.broadcastDelay(),
  );

  log(roomId: string): RoomLog {
    let log = this.logs.get(roomId);
    if (log === undefined) this.logs.set(roomId, (log = new RoomLog(() => this.now())));
    return log;
  }

  now(): number {
    return Date.now() + this.clockAhead;
  }

  state(roomId: string): RoomState {
    let state = this.#states.get(roomId);
    if (state === undefined) this.#states.set(roomId, (state = new RoomState()));
    return state;
  }

  /** Forgets a room's state and all kept pages, as when the table of state is restored. */
  restore(roomId: string): void {
    this.#states.delete(roomId);
    this.#pages.clear();
  }

  list(roomId: string): RoomMembers {
    let list = this.#lists.get(roomId);
    if (list === undefined) this.#lists.set(roomId, (list = new RoomMembers()));
    return list;
  }

  /** The rows of those who are members. */
  memberRows(roomId: string): MemberRow[] {
    return [...this.#membersOf(roomId).values()].flatMap(({ member }) => member ?? []);
  }

  /** Compares the list of members with the rows, and tells everybody what has changed. */
  publishMembers(roomId: string): void {
    const change = this.list(roomId).publish(
      this.memberRows(roomId),
      this.now(),
      this.presence.list,
      this.presence.frame,
    );
    if (change) this.post(roomId, { type: "presence", roomId, ...change });
  }

  /** Posts a frame to every connection in a room. */
  post(roomId: string, frame: object): void {
    for (const [peer, { visibleFrom }] of this.#membersOf(roomId)) {
      if (visibleFrom <= Date.now()) peer.deliver(JSON.stringify(frame));
    }
  }

  members(roomId: string): Peer[] {
    return [...this.#membersOf(roomId).keys()];
  }

  /** Deletes a connection's row in a room, as a false 410 does. Nobody is told. */
  loseRow(roomId: string, peer: Peer): void {
    this.#membersOf(roomId).delete(peer);
  }

  /** Frames of one action that have come in. */
  received(action: string): ClientFields[] {
    return this.frames.filter((frame) => frame.action === action);
  }

  /** A token of `sub` that expires in `ms`. */
  issue(sub: string, ms: number): string {
    const token = `${sub}~${this.expiries.size}`;
    this.expiries.set(token, Date.now() + ms);
    return token;
  }

  /** Rest of a token's time; infinite for one that never expires. */
  expiresIn(token = ""): number {
    return (this.expiries.get(token) ?? Number.POSITIVE_INFINITY) - Date.now();
  }

  /** Handles a client frame. Returns the reply, if there is one. */
  handle(peer: Peer, text: string): string | undefined {
    const frame = JSON.parse(text) as ClientFields;
    this.frames.push(frame);
    if (this.expiresIn(peer.token) < -LEEWAY_MS) return this.#refuse(peer, frame);
    const scripted = this.script(frame, peer);
    if (scripted === "silence") return undefined;
    const reply =
      scripted === undefined ? this.#reply(peer, frame) : { type: "error", message: scripted.code, ...scripted };
    return JSON.stringify({ ...reply, requestId: frame.requestId });
  }

  /** `$disconnect`. */
  disconnect(peer: Peer): void {
    for (const roomId of this.#members.keys()) this.#remove(peer, roomId);
  }

  /** Appends a batch and broadcasts it at once, as fanout does. */
  publish(roomId: string, drafts: readonly (Partial<Draft> & { data: unknown })[]): LoggedMessage[] {
    const full = drafts.map((draft) => ({ id: this.#queue.newId(), from: "producer", ...draft }));
    const batch = this.log(roomId).append(full);
    this.state(roomId).write(batch, this.retentionSeconds, this.now());
    this.broadcast(roomId, batch);
    return batch;
  }

  /** Posts messages of the log to every member, packed and conflated. */
  broadcast(roomId: string, batch: readonly LoggedMessage[]): void {
    for (let at = 0; at < batch.length; at += this.packSize) {
      const frame = this.#pack(roomId, batch.slice(at, at + this.packSize));
      for (const [peer, { visibleFrom }] of this.#membersOf(roomId)) {
        if (visibleFrom <= Date.now()) peer.deliver(frame);
      }
    }
  }

  #pack(roomId: string, batch: readonly LoggedMessage[]): string {
    const newest = new Map<string, LoggedMessage>();
    for (const message of batch) {
      const other = message.key === undefined ? undefined : newest.get(message.key);
      if (message.key !== undefined && (other === undefined || (message.version ?? 0) >= (other.version ?? 0))) {
        newest.set(message.key, message);
      }
    }
    const messages = batch.filter(({ key, seq }) => key === undefined || newest.get(key)?.seq === seq);
    const first = batch[0]?.seq ?? 0;
    const last = batch.at(-1)?.seq ?? 0;
    const implied = messages.length === batch.length;
    for (const { seq } of batch) {
      if (!messages.some((message) => message.seq === seq)) this.log(roomId).conflated.add(seq);
    }
    return JSON.stringify({ type: "messages", roomId, messages, ...(!implied && { after: first - 1, seq: last }) });
  }

  #refuse(peer: Peer, frame: ClientFields): string | undefined {
    this.expired.push(frame);
    setTimeout(() => peer.cut?.(1001), this.expiry.reason ? CLOSE_MS : 0);
    const { requestId } = frame;
    const error = {
      type: "error",
      code: "forbidden",
      message: "the token has expired",
      reason: "token_expired",
      requestId,
    };
    return this.expiry.reason ? JSON.stringify(error) : undefined;
  }

  #reply(peer: Peer, frame: ClientFields): object {
    const roomId = frame.roomId ?? "";
    switch (frame.action) {
      case "joinRoom": {
        if (this.forbidden.has(roomId))
          return { type: "error", code: "forbidden", message: "the room may not be joined" };
        const after = frame["after"] as number | undefined;
        const unread = this.withoutHistory.has(roomId) && after !== undefined;
        if (unread) return { type: "error", code: "forbidden", message: "the room's log may not be read" };
        this.#put(peer, roomId, frame);
        const log = this.log(roomId);
        const hasState = frame["state"] === true && !this.stateless.has(roomId);
        const known =
          after === undefined && hasState ? this.#statePage(roomId, "", 0, this.statePage.joined).seq : log.known;
        const page =
          after === undefined
            ? { seq: known, messages: [], more: false, truncated: false }
            : log.page(after, this.pageSize);
        const snapshot =
          hasState &&
          (after === undefined || page.truncated) &&
          firstOfState(this.#statePage(roomId, "", page.seq, this.statePage.joined), page.seq, this.statePage.joined);
        const asksMore = frame["state"] === true || frame["presence"] === true;
        const isMember = frame["presence"] === true && !this.unlisted.has(roomId);
        const expiresInMs = Math.max(0, this.expiresIn(peer.token));
        return {
          type: "joined",
          roomId,
          ...page,
          retentionSeconds: this.retentionSeconds,
          syncAfterMs: this.syncAfterMs([roomId]),
          ...((isMember || this.counted.has(roomId)) && { syncWithinMs: this.presence.syncWithinMs }),
          ...(this.expiry.hint && Number.isFinite(expiresInMs) && { expiresInMs }),
          ...(asksMore && { now: this.now() }),
          ...snapshot,
          ...(isMember && { presence: this.#firstOfMembers(peer, roomId) }),
        };
      }
      case "leaveRoom":
        this.#remove(peer, roomId);
        return { type: "left", roomId };
      case "sendMessage":
        return frame["ephemeral"] === true
          ? this.#pass(peer, roomId, frame)
          : this.#queue.accept(peer.sub, roomId, frame);
      case "getState":
        return this.#pageOfState(roomId, (frame["after"] as string | undefined) ?? "", frame["seq"] as number);
      case "getMembers": {
        if (this.unlisted.has(roomId)) return { type: "error", code: "bad_request", message: "no presence is kept" };
        const size = Math.min((frame["limit"] as number | undefined) ?? Infinity, this.presence.page);
        return {
          type: "members",
          roomId,
          ...this.list(roomId).page((frame["after"] as string | undefined) ?? "", size, this.memberRows(roomId)),
        };
      }
      case "sync": {
        const lists = frame["presence"] as Record<string, number> | undefined;
        const synced = this.#sync(peer, Object.entries(frame["rooms"] as Record<string, number>), lists ?? {});
        if (lists === undefined) return synced;
        const published = Object.keys(lists).map((id) => [id, { rev: this.list(id).rev, count: this.list(id).count }]);
        return { ...synced, presence: Object.fromEntries(published) as object, now: this.now() };
      }
      case "getHistory": {
        const before = (frame["before"] as number | undefined) ?? Number.MAX_SAFE_INTEGER;
        return {
          type: "history",
          roomId,
          ...this.log(roomId).history(before, (frame["limit"] as number | undefined) ?? 50),
        };
      }
      default:
        return { type: "error", code: "unknown_action", message: frame.action };
    }
  }

  #sync(peer: Peer, asked: [string, number][], lists: object): object {
    if (asked.length > SYNC_ROOMS) return { type: "error", code: "bad_request", message: "too many rooms" };
    const allowed = asked.filter(([roomId]) => !this.forbidden.has(roomId));
    const forbidden = asked.map(([roomId]) => roomId).filter((roomId) => this.forbidden.has(roomId));
    const served = allowed.filter(([roomId]) => !this.unsynced.has(roomId));
    if (allowed.length > 0 && served.length === 0)
      return { type: "error", code: "unavailable", message: "no room could be read" };
    const put = served.map(([roomId]) => roomId).filter((roomId) => !this.#membersOf(roomId).has(peer));
    const renewed = [...put, ...Object.keys(lists).filter((roomId) => this.#membersOf(roomId).get(peer)?.putBack)];
    for (const roomId of put) this.#put(peer, roomId);
    this.renewals += put.length;
    let left = this.budget;
    const pages = served.map(([roomId, after]) => {
      const log = this.log(roomId);
      // A head that equals what the client has is believed, also when it lags; any other leads to a look at the log.
      if (log.remembers && after > 0 && log.headBefore(this.headLag()) === after)
        return [roomId, { seq: after, messages: [], more: false, truncated: false }];
      const since = this.#visibleFrom(peer, roomId);
      if (since !== undefined && log.all.some(({ seq, sentAt }) => seq > after && sentAt < since)) {
        return [roomId, { seq: log.known, messages: [], more: false, truncated: true }];
      }
      const page = log.page(after, Math.min(left, this.pageSize));
      left -= page.messages.length;
      return [roomId, page];
    });
    // The index may not show a row at once that was put back.
    const syncAfterMs = put.length > 0 ? 30_000 : this.syncAfterMs(asked.map(([roomId]) => roomId));
    return {
      type: "synced",
      rooms: Object.fromEntries(pages) as object,
      renewed,
      ...(forbidden.length > 0 && { forbidden }),
      syncAfterMs,
    };
  }

  /** The time from which on a connection may read a log; `undefined` if it may read all of it. */
  #visibleFrom(peer: Peer, roomId: string): number | undefined {
    return this.withoutHistory.has(roomId) ? (peer.openedAt ?? 0) : undefined;
  }

  /**
   * Puts a connection's row. A `sync` puts one too, which does not make the client a member of the list; it is told so
   * until it has joined again.
   */
  #put(peer: Peer, roomId: string, frame?: ClientFields): void {
    const isMember = frame?.["presence"] === true && !this.unlisted.has(roomId);
    const data = frame?.["presenceData"];
    const member = { sub: peer.sub, at: ++this.#rowNumber, ...(data !== undefined && { data }) };
    const row = { visibleFrom: Date.now() + this.indexLag(), putBack: frame === undefined };
    this.#membersOf(roomId).set(peer, { ...row, ...(isMember && { member }) });
    if (isMember) this.#tick(roomId);
  }

  #firstOfMembers(peer: Peer, roomId: string): object {
    const oneself = this.#membersOf(roomId).get(peer)?.member ?? { sub: peer.sub, at: 0 };
    return { id: peer.sub, ...this.list(roomId).first(this.presence.page, oneself) };
  }

  #remove(peer: Peer, roomId: string): void {
    const members = this.#membersOf(roomId);
    if (members.get(peer)?.member) this.#tick(roomId);
    members.delete(peer);
  }

  /** The room's members may have changed: they are looked at later, once. */
  #tick(roomId: string): void {
    const delay = this.presenceDelay();
    if (this.#ticks.has(roomId) || delay === Infinity) return;
    this.#ticks.add(roomId);
    setTimeout(() => {
      this.#ticks.delete(roomId);
      this.publishMembers(roomId);
    }, delay);
  }

  #pageOfState(roomId: string, after: string, seq: number): object {
    if (this.stateless.has(roomId)) return { type: "error", code: "bad_request", message: "the room has no state" };
    return { type: "state", roomId, ...meeting(this.#statePage(roomId, after, seq, this.statePage.next), seq) };
  }

  #statePage(roomId: string, after: string, seq: number, size: number): StatePage {
    const read = () => this.state(roomId).page(this.log(roomId).known, after, size, this.now());
    return this.#pages.get(JSON.stringify([roomId, after, size]), seq, this.stateCacheMs, read);
  }

  /** Passes on a message that is not logged. */
  #pass(peer: Peer, roomId: string, frame: ClientFields): object {
    const { key, data } = frame;
    const message = { from: peer.sub, sentAt: this.now(), ...(key !== undefined && { key }), data };
    setTimeout(() => this.post(roomId, { type: "ephemeral", roomId, ephemeral: [message] }), this.broadcastDelay());
    return { type: "accepted", roomId, id: this.#queue.newId() };
  }

  #membersOf(roomId: string): Map<Peer, Membership> {
    let members = this.#members.get(roomId);
    if (members === undefined) this.#members.set(roomId, (members = new Map()));
    return members;
  }
}
