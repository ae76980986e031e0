import { Emitter } from "./emitter.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import type { JoinExtras, JoinedFrame, Member, MembersPage, PresenceFrame, PresenceRev, Reply } from "./frames.js";
import { MEMBERS } from "./limits.js";
import { differs, member, same, sendableCopy } from "./members.js";
import type { PageOptions, PresenceEvents, PresencePage } from "./presence-types.js";
import { type Deferred, deferred, Timer } from "./timing.js";

/** Calls of the list to its room. */
interface PresencePorts {
  /** Reads a page, of the list `rev` or a later one, with retries for a while. */
  page(options: PageOptions & { rev?: number | undefined }): Promise<Reply<"members">>;
  /** Joins the room again, if it is joined, to send other data of the client. Waits for the answer, `done`, a while. */
  announce(done: () => Promise<void>): Promise<void>;
  error(error: RoomcastError): void;
  /** Called when somebody listens. */
  used(): void;
}

/**
 * Time for which the frames that lead to a newer list are waited for, once a frame or an answer has named that list.
 * Then the list is read.
 */
const GRACE_MS = 2_000;

/**
 * Time over which the clients of a room that lost the same frame spread their questions: a second for each hundred, up
 * to ten.
 */
const MAX_SPREAD_MS = 10_000;
const SPREAD_MS_EACH = 10;

/** Number of doublings of the pause between readings that fail: up to 2 s * 2^7, some four minutes. */
const MAX_FAILURES = 7;

/** Number of frames that are held because they do not follow on the list. A dropped frame counts as a lost one. */
const MAX_HELD = 100;

/**
 * Largest number of pages of a list, which has 1,000 members and 200 KiB at most, in pages of 500 members or some
 * 110 KiB. A room with more pages has no list.
 */
const MAX_PAGES = 20;

/**
 * The members of a room. The server publishes a list now and then, each with a number (`rev`), and sends the changes as
 * facts, such as "present with this data". A client that misses one reads the list again. Events come from the
 * difference of two lists, so nobody comes or goes because a list was read.
 */
export class Presence extends Emitter<PresenceEvents> {
  readonly #ports: PresencePorts;
  /** The data that the client gives of itself. */
  #data: unknown;
  /** The data that the server took last. */
  #taken: unknown;
  #isMember = false;
  #announced: Deferred<void> | undefined;
  /** The client itself, as long as the list lacks it or its newest data. */
  #own: Member | undefined;
  #ownId: string | undefined;
  /** The number of the list at the last join: lists up to it may lack the client's newest data. */
  #announcedAt = 0;
  /** The number of the list that the client has; `undefined` if it has none yet. */
  #rev: number | undefined;
  #list = new Map<string, Member>();
  #isListed = false;
  /** True if the room has a list, as far as frames have told. */
  #hasList = true;
  #count = 0;
  /** The count of the last event. */
  #told = 0;
  /** The members that the application sees: the list, and the client itself. */
  #shown = new Map<string, Member>();
  #members: readonly Member[] = Object.freeze([]);
  /** Frames that do not follow on the list yet. */
  #held: PresenceFrame[] = [];
  /** The number of the newest list that is known to exist. */
  #newest = 0;
  /** The list that is being read. */
  #reading: object | undefined;
  /**
   * Number of readings in a row that have failed. Infinite after a refusal, so that the list is not read before the
   * room is joined again.
   */
  #failures = 0;
  readonly #timer = new Timer();

  /** @internal */
  constructor(ports: PresencePorts) {
    super();
    this.#ports = ports;
  }

  /**
   * The members, by ascending id. The list is immutable: a change makes another one. Empty in a room that is too large
   * for a list.
   */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** Number of members, also in a room without a list. */
  get count(): number {
    return this.#isListed ? this.#shown.size : this.#count;
  }

  /**
   * True if `members` has everybody. Otherwise the list is on its way, or the room is too large for one: see `page`.
   */
  get listed(): boolean {
    return this.#isListed;
  }

  /**
   * Sends other data of the client, up to 1 KiB of JSON. Resolves when the server has it. Others see it within seconds.
   */
  async update(data: unknown): Promise<void> {
    this.#data = sendableCopy(data);
    // Made only for who waits: a refusal that nobody waits for is an error of the room.
    return this.#ports.announce(() => (this.#announced ??= deferred<void>()).promise);
  }

  /** Reads a page of the members, for rooms that are too large for a list. The room need not be joined. */
  async page(options: PageOptions = {}): Promise<PresencePage> {
    const { members = [], count, next } = await this.#ports.page(options);
    return { members, count, next };
  }

  /** @internal */
  override listened(): void {
    this.#ports.used();
  }

  /** @internal Makes the client a member from now on. */
  begin(data: unknown): void {
    this.#data = sendableCopy(data);
    this.#isMember = true;
  }

  /** @internal Fields of a `joinRoom`. */
  get extras(): JoinExtras {
    if (!this.#isMember) return {};
    return { presence: true, ...(this.#data !== undefined && { presenceData: this.#data }) };
  }

  /** @internal The number of the list that a `sync` compares. */
  get rev(): number | undefined {
    return this.#isMember ? this.#rev : undefined;
  }

  /** @internal Takes the answer to a `joinRoom` with these fields. */
  joined({ presence }: JoinedFrame, { presence: asked, presenceData }: JoinExtras): void {
    this.#taken = presenceData;
    if (asked && !presence) return this.#refused(new RoomcastError("bad_request", "the room has no presence"));
    if (presenceData === this.#data) {
      this.#announced?.resolve();
      this.#announced = undefined;
    }
    if (!presence) return;
    const { id, rev, count, members, next } = presence;
    this.#failures = 0;
    this.#ownId = id;
    this.#own = member(id, presenceData);
    this.#announcedAt = rev;
    this.#newest = Math.max(this.#newest, rev);
    this.#hasList = members !== undefined;
    // Clients that are back after an outage do not all ask for the rest of a long list at once.
    if (this.#rev !== undefined && (rev <= this.#rev || next !== undefined)) {
      // The list is the same, apart from data that was sent just now.
      if (rev === this.#rev && this.#isListed)
        for (const { id, data } of members ?? []) this.#list.set(id, member(id, data));
      return this.#follow();
    }
    if (!members) return this.#counted(rev, count);
    if (this.#rev === undefined) {
      this.#count = count;
      this.#show(true);
    }
    void this.#read(presence);
  }

  /**
   * @internal Takes the refusal of a `joinRoom` with these fields. Returns true if it can be tried with earlier data.
   */
  takesBack({ presenceData }: JoinExtras, error: RoomcastError): boolean {
    if (presenceData === this.#taken) return false;
    // Otherwise newer data has been given meanwhile.
    if (presenceData === this.#data) {
      this.#data = this.#taken;
      this.#refused(error);
    }
    return true;
  }

  #refused(error: RoomcastError): void {
    (this.#announced?.reject ?? this.#ports.error)(error);
    this.#announced = undefined;
  }

  /** @internal Takes a frame to everybody in the room. */
  changed(frame: PresenceFrame): void {
    if (!this.#isMember || frame.rev <= (this.#rev ?? 0)) return;
    const { rev, count, after, reload } = frame;
    this.#hasList = reload === true || after !== undefined;
    if (reload) return this.#expect(rev, this.#spread());
    if (!this.#hasList && this.#rev !== undefined) return this.#counted(rev, count);
    this.#held.push(frame);
    this.#held.sort((a, b) => a.rev - b.rev);
    if (this.#held.length > MAX_HELD) this.#held.shift();
    if (this.#reading || this.#rev === undefined) return;
    this.#follow();
  }

  /** @internal Takes the answer to a `sync`. */
  synced({ rev }: PresenceRev): void {
    if (this.#rev !== undefined && rev > this.#rev) this.#expect(rev, 0);
  }

  /** @internal Called when the room is not joined for now. */
  pause(): void {
    this.#timer.clear();
    // Who waits for an answer has been told that there will be none.
    this.#reading = this.#announced = undefined;
  }

  /** @internal Called when the room is left. */
  end(error: RoomcastError): void {
    this.#announced?.reject(error);
    this.pause();
    this.#isMember = this.#isListed = false;
    this.#hasList = true;
    this.#data = this.#taken = this.#own = this.#ownId = this.#rev = undefined;
    this.#held = [];
    this.#newest = this.#count = this.#told = this.#announcedAt = 0;
    this.#list = new Map();
    this.#shown = new Map();
    this.#members = Object.freeze([]);
  }

  /**
   * Reads the list, whose first page may be there already. Frames wait, because their facts follow on the first page.
   */
  async #read(page?: MembersPage & { listed?: boolean }): Promise<void> {
    const reading = (this.#reading = {});
    const list = new Map<string, Member>();
    let pages = 0;
    let first: number | undefined;
    let last = 0;
    try {
      for (let after = ""; ; page = undefined) {
        page ??= await this.#ports.page({ limit: MEMBERS, rev: first, ...(after !== "" && { after }) });
        if (reading !== this.#reading) return;
        const { rev, count, members, next, listed = true } = page;
        first ??= rev;
        last = rev;
        if (!members || !listed || (next !== undefined && ++pages === MAX_PAGES)) return this.#counted(rev, count);
        for (const { id, data } of members) list.set(id, member(id, data));
        if (next === undefined) break;
        after = next;
      }
    } catch (thrown) {
      if (reading !== this.#reading) return;
      this.#reading = undefined;
      const error = asRoomcastError(thrown);
      if (!error.retryable) {
        this.#failures = Infinity;
        return this.#ports.error(error);
      }
      // The request has had its own retries. Reading goes on after a pause.
      const pause = GRACE_MS * 2 ** Math.min(this.#failures++, MAX_FAILURES);
      return this.#expect(Math.max(this.#newest, (this.#rev ?? 0) + 1), pause + this.#spread());
    }
    this.#reading = undefined;
    this.#failures = 0;
    // Frames have brought a newer list meanwhile.
    if (this.#rev !== undefined && first < this.#rev) return this.#follow();
    const isFirst = !this.#isListed;
    this.#rev = first;
    this.#list = list;
    this.#isListed = true;
    this.#newest = Math.max(this.#newest, last);
    if (this.#ownId !== undefined) this.#noteOwn(this.#ownId, first > this.#announcedAt && list.has(this.#ownId));
    this.#follow(isFirst);
  }

  /** Applies the frames that follow on the list, and notes a gap. */
  #follow(isFirst = false): void {
    for (const frame of this.#held.splice(0)) {
      if (frame.rev <= (this.#rev ?? 0)) continue;
      if (this.#isListed && frame.after === this.#rev) this.#apply(frame);
      else this.#held.push(frame);
    }
    const missing = Math.max(this.#newest, this.#held.at(-1)?.rev ?? 0);
    if (missing > (this.#rev ?? 0)) this.#expect(missing, this.#spread());
    else this.#timer.clear();
    this.#show(isFirst);
  }

  #apply({ rev, joined = [], left = [] }: PresenceFrame): void {
    this.#rev = rev;
    for (const id of left) {
      this.#list.delete(id);
      this.#noteOwn(id, false);
    }
    for (const { id, data } of joined) {
      this.#list.set(id, member(id, data));
      this.#noteOwn(id, true);
    }
  }

  /**
   * Takes the word of the list about the client itself: its entry may be the newer data of another tab, and without an
   * entry the client is there still.
   */
  #noteOwn(id: string, isListed: boolean): void {
    if (id !== this.#ownId) return;
    if (isListed) this.#own = undefined;
    else this.#own ??= member(id, this.#data);
  }

  /** Takes the word that the room has no list. */
  #counted(rev: number, count: number): void {
    this.#reading = undefined;
    this.#hasList = false;
    const hadList = this.#isListed;
    this.#rev = rev;
    this.#list.clear();
    this.#isListed = false;
    this.#count = count;
    this.#held = this.#held.filter((frame) => frame.rev > rev);
    if (this.#newest <= rev && this.#held.length === 0) this.#timer.clear();
    this.#shown = new Map();
    this.#members = Object.freeze([]);
    if (hadList) this.emit("snapshot", this.#members);
    this.#tellCount();
  }

  /** Notes that the list `rev` exists. The list is read if the frames that lead there do not come. */
  #expect(rev: number, spreadMs: number): void {
    this.#newest = Math.max(this.#newest, rev);
    if (this.#timer.running || this.#failures === Infinity) return;
    this.#timer.set(GRACE_MS + spreadMs, () => {
      if (this.#newest > (this.#rev ?? 0) && !this.#reading) void this.#read();
    });
  }

  #spread(): number {
    return Math.random() * Math.min(MAX_SPREAD_MS, Math.max(1_000, this.count * SPREAD_MS_EACH));
  }

  /** Shows the list, and tells the difference from the last one. */
  #show(isFirst = false): void {
    const before = this.#shown;
    const all = new Map(this.#list);
    if (this.#own && (this.#isListed || this.#rev === undefined)) all.set(this.#own.id, this.#own);
    const now = new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
    if (isFirst || differs(before, now)) this.#members = Object.freeze([...now.values()]);
    this.#shown = now;
    if (!this.#isListed) return;
    if (isFirst) this.emit("snapshot", this.#members);
    else this.#tell(before, now);
    this.#tellCount();
  }

  #tellCount(): void {
    const { count } = this;
    const previous = this.#told;
    this.#told = count;
    if (count !== previous) this.emit("count", { count, previous });
  }

  #tell(before: ReadonlyMap<string, Member>, now: ReadonlyMap<string, Member>): void {
    // A listener may have left the room, or changed the list.
    const goesOn = () => now === this.#shown;
    for (const [id, was] of before) if (goesOn() && !now.has(id)) this.emit("left", was);
    for (const [id, is] of now) if (goesOn() && !before.has(id)) this.emit("joined", is);
    for (const [id, is] of now) {
      const was = before.get(id);
      if (was && goesOn() && !same(was, is)) this.emit("updated", { ...is, previous: was.data });
    }
  }
}
