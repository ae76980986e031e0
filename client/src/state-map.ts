import { Emitter } from "./emitter.js";
import { asRoomcastError, RoomcastError } from "./errors.js";
import {
  bringsState,
  type JoinedFrame,
  type KeyedValue,
  type LoggedMessage,
  type Rank,
  type StatePage,
} from "./frames.js";
import { MAX_TIMER_MS, RETENTION_SECONDS } from "./limits.js";
import { NEVER, supersedes } from "./rank.js";
import type { Accepted } from "./send.js";
import type { StatePorts } from "./state-ports.js";
import type { Iterated, KeyChange, SetOptions, StateEntry, StateEvents } from "./state-types.js";
import { deferred, Timer } from "./timing.js";

/** The greatest message of a key so far. */
interface Slot<T> extends Rank {
  /** The value; `undefined` if it was removed, has expired, or failed `parse`. */
  entry: StateEntry<T> | undefined;
  /** The time at which the value ends, or the key is forgotten, by the server's clock. */
  until: number;
}

/**
 * Time for which values are remembered after the room was left. The server hands out a page of state again for up to a
 * second, so a join may get a page that is older than the values shown before, and no value must go back.
 */
const MAX_PAGE_AGE_MS = 5_000;

/**
 * Time for which a key is remembered that has neither a value nor a version. Every later message of the log takes its
 * place. Only a page that is under way may be older.
 */
const PAGE_UNDER_WAY_MS = 60_000;

/** Shortest time between two looks for values that have ended, because each look goes through all keys. */
const SWEEP_MS = 1_000;

/**
 * The values of a room's keys, from messages and from pages of the server's state. The map changes as they come.
 *
 * A snapshot is read in pages, each as new as the first or newer. Values that the first page does not know have higher
 * numbers, and come with the messages. Nothing is shown before the last page is there.
 */
export class StateMap<T = unknown> extends Emitter<StateEvents<T>> implements ReadonlyMap<string, StateEntry<T>> {
  readonly #ports: StatePorts<T>;
  readonly #slots = new Map<string, Slot<T>>();
  readonly #shown = new Map<string, StateEntry<T>>();
  #ready = deferred<void>();
  #isReady = false;
  /** True if no snapshot has to be read. */
  #isComplete = false;
  /** Time within which an older message may follow. */
  #retentionMs = RETENTION_SECONDS * 1_000;
  /** The newest message that the last snapshot's first page knew of. Messages up to it do not touch the map. */
  #first = NEVER;
  /**
   * The newest message that has touched the map. Messages come again after `close()` if an iterator has not read them,
   * maybe when a removal is forgotten.
   */
  #applied = NEVER;
  /**
   * The message up to which pages replace the values that messages have brought, because pages know more than the log.
   */
  #replaced = NEVER;
  /** True if the room has no state, or it may not be read. */
  #hasFailed = false;
  /** The snapshot that is being read. Pages of another one are dropped. */
  #reading: object | undefined;
  /** True if messages are skipped as soon as the snapshot is there. */
  #skimming = false;
  /** The timer that forgets the values after the room was left. */
  #forgetting: ReturnType<typeof setTimeout> | undefined;
  readonly #timer = new Timer();
  #timerAt = Infinity;
  #sweptAt = 0;

  /** @internal */
  constructor(ports: StatePorts<T>) {
    super();
    this.#ports = ports;
  }

  /** A promise that resolves when the map is complete, and rejects if the room is left before, or has no state. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** True if the map is complete. It is empty before. */
  get isReady(): boolean {
    return this.#isReady;
  }

  get size(): number {
    return this.#shown.size;
  }

  get(key: string): StateEntry<T> | undefined {
    return this.#shown.get(key);
  }

  has(key: string): boolean {
    return this.#shown.has(key);
  }

  keys(): Iterated<T, "keys"> {
    return this.#shown.keys();
  }

  values(): Iterated<T, "values"> {
    return this.#shown.values();
  }

  entries(): Iterated<T, "entries"> {
    return this.#shown.entries();
  }

  [Symbol.iterator](): Iterated<T, "entries"> {
    return this.entries();
  }

  forEach(
    callback: (entry: StateEntry<T>, key: string, map: ReadonlyMap<string, StateEntry<T>>) => void,
    self?: unknown,
  ): void {
    for (const [key, entry] of this.#shown) callback.call(self, entry, key, this);
  }

  /**
   * Sends a value for `key`. Resolves when the server has accepted it, and the map has the value when its broadcast
   * comes. It needs the right `state`, and no join. Of two values the one with the larger `version` stays, or the later
   * one without versions.
   */
  set(key: string, data: T, options: SetOptions = {}): Promise<Accepted> {
    return this.#ports.set(key, data, options);
  }

  /** Sends a removal of the value of `key`, as `set` sends a value. */
  remove(key: string, options: Omit<SetOptions, "ttlSeconds"> = {}): Promise<Accepted> {
    return this.#ports.remove(key, options);
  }

  /** @internal */
  override listened(): void {
    this.#ports.used();
  }

  /**
   * @internal Takes the answer to a join from `asked` on: begins a snapshot, unless the map is complete up to there.
   */
  joined(page: JoinedFrame, asked: number | undefined): void {
    if (this.#hasFailed) this.#ready = deferred();
    this.#hasFailed = false;
    clearTimeout(this.#forgetting);
    this.#retentionMs = (page.retentionSeconds ?? RETENTION_SECONDS) * 1_000;
    // The server's clock is known better now, and the timer stood still while the client was closed.
    this.#sweep();
    const { seq, state: entries = [], stateRemoved: removed = [], stateNext: next } = page;
    if (bringsState(page)) {
      void this.#read(asked ?? 0, { seq, entries, removed, next });
    } else if (asked === undefined) {
      this.#fail(new RoomcastError("bad_request", "the room has no state"));
    } else if (!this.#isComplete && !this.#reading) {
      void this.#read(seq);
    }
  }

  /** @internal Applies messages in the order of the log. */
  apply(messages: readonly LoggedMessage[]): void {
    const life = this.#ready;
    for (const message of messages) {
      if (message.key === undefined || message.seq <= Math.max(this.#first, this.#applied)) continue;
      this.#applied = message.seq;
      if (message.remove) this.#put(message.key, message, "removed", false);
      else this.#set(message as LoggedMessage & { key: string }, false);
      // A listener may have left the room.
      if (life !== this.#ready) return;
    }
  }

  /**
   * @internal Takes the word that messages up to `seq` cannot be had. With `anew` the log is another one, which begins
   * behind `seq`.
   */
  missed(seq: number, anew: boolean): void {
    if (!anew && seq <= this.#first) return;
    if (anew) this.#forget(Infinity, seq);
    const skims = this.#skimming;
    void this.#read(seq);
    this.#skimming = skims;
  }

  /**
   * @internal Reads a snapshot instead of the messages up to `seq`, which nobody reads. Returns false if there is no
   * state to read.
   */
  skim(seq: number): boolean {
    if (this.#hasFailed) return false;
    if (seq <= this.#first && !this.#reading) {
      this.#ports.skip(this.#first);
    } else if (!this.#skimming) {
      if (seq > this.#first) void this.#read(seq, undefined, this.#isComplete);
      this.#skimming = true;
    }
    return true;
  }

  /** @internal Called when the room is not joined for now. */
  pause(): void {
    this.#reading = undefined;
    this.#skimming = false;
    this.#timer.clear();
    this.#timerAt = Infinity;
  }

  /** @internal Called when the room is left. */
  end(error: RoomcastError): void {
    this.pause();
    this.#ready.reject(error);
    this.#ready = deferred();
    this.#isReady = this.#isComplete = false;
    this.#first = this.#applied = NEVER;
    this.#shown.clear();
    clearTimeout(this.#forgetting);
    this.#forgetting = setTimeout(() => this.#slots.clear(), MAX_PAGE_AGE_MS);
    // The timer is no reason for Node.js to stay.
    (this.#forgetting as { unref?(): void }).unref?.();
  }

  /**
   * Reads the pages of a snapshot, the first of which may be there already. `known` is the newest message that is
   * known. `isSpare` means that the map lacks nothing so far, so that every message counts until the snapshot is there.
   */
  async #read(known: number, page?: StatePage, isSpare = false): Promise<void> {
    const reading = (this.#reading = {});
    this.#isComplete = false;
    this.#skimming = false;
    this.#replaced = NEVER;
    const seen = new Set<string>();
    let first: number | undefined;
    for (let after = ""; ; page = undefined) {
      try {
        page ??= await this.#ports.page(after, first ?? known);
      } catch (thrown) {
        const error = asRoomcastError(thrown);
        if (reading !== this.#reading) return;
        // The request has waited already.
        if (error.retryable) continue;
        return this.#fail(error);
      }
      if (reading !== this.#reading) return;
      if (first === undefined) {
        first = page.seq;
        if (!isSpare) this.#first = first;
        // An empty log may have forgotten its numbers, but does not give them out again.
        if (first === 0) this.#replaced = known;
        else if (first < known) this.#forget(known, first);
      }
      for (const value of page.entries) {
        seen.add(value.key);
        this.#set(value, true);
        if (reading !== this.#reading) return;
      }
      for (const removed of page.removed ?? []) {
        seen.add(removed.key);
        this.#put(removed.key, removed, "removed", true);
        if (reading !== this.#reading) return;
      }
      if (page.next === undefined) break;
      after = page.next;
    }
    this.#first = first;
    for (const [key, { seq }] of this.#slots) {
      if (seq > Math.max(first, this.#replaced) || seen.has(key)) continue;
      this.#slots.delete(key);
      this.#show(key, undefined, "removed");
      if (reading !== this.#reading) return;
    }
    this.#reading = undefined;
    this.#replaced = NEVER;
    this.#isComplete = true;
    if (!this.#isReady) {
      for (const [key, { entry }] of this.#slots) if (entry) this.#shown.set(key, entry);
      this.#isReady = true;
    }
    this.#ready.resolve();
    this.emit("snapshot", this);
    if (!this.#skimming) return;
    this.#skimming = false;
    this.#ports.skip(first);
  }

  #fail(error: RoomcastError): void {
    const isSkimming = this.#skimming;
    this.#hasFailed = true;
    this.pause();
    this.#ready.reject(error);
    this.#ports.error(error);
    if (isSkimming) this.#ports.skip(0);
  }

  /** Forgets the age of values up to `seq`, so that every page replaces them. Messages count from `first` on. */
  #forget(seq: number, first: number): void {
    this.#first = this.#applied = first;
    for (const [key, slot] of this.#slots) {
      if (slot.seq > seq) continue;
      if (slot.entry) this.#slots.set(key, { ...slot, seq: NEVER, version: NEVER });
      else this.#slots.delete(key);
    }
  }

  #set(value: KeyedValue | (LoggedMessage & { key: string }), isPage: boolean): void {
    const { key, seq, version, from, sentAt, ttlSeconds } = value;
    const expiresAt = ttlSeconds === undefined ? Infinity : sentAt + ttlSeconds * 1_000;
    if (expiresAt <= this.#ports.serverNow()) return this.#put(key, value, "expired", isPage);
    let entry: StateEntry<T> | undefined;
    try {
      entry = {
        data: this.#ports.parse(value.data),
        seq,
        from,
        sentAt,
        ...(version !== undefined && { version }),
        ...(expiresAt < Infinity && { expiresAt }),
      };
    } catch (cause) {
      // The bad data of a message is reported to those who read messages.
      if (isPage) this.#ports.error(new RoomcastError("bad_data", `the value of ${key} has bad data`, { cause }));
    }
    this.#put(key, value, entry ? "set" : "removed", isPage, entry, entry ? expiresAt : expiresAt + this.#retentionMs);
  }

  /**
   * The time until which a key without a value is remembered: the log retains for so long a message that came now.
   * `sentAt` is no measure, because it is the sender's claim.
   */
  #memory(version: number | undefined): number {
    return this.#ports.serverNow() + (version ? this.#retentionMs : PAGE_UNDER_WAY_MS);
  }

  #put(
    key: string,
    rank: Rank,
    reason: KeyChange["reason"],
    isPage: boolean,
    entry?: StateEntry<T>,
    until = this.#memory(rank.version),
  ): void {
    const { seq, version } = rank;
    const other = this.#slots.get(key);
    if (other && !supersedes(rank, other) && !(isPage && other.seq <= this.#replaced)) {
      if (!other.entry) other.until = Math.max(other.until, this.#memory(other.version));
      return;
    }
    this.#slots.set(key, { seq, version, entry, until });
    this.#wakeAt(until);
    this.#show(key, entry, reason);
  }

  #show(key: string, entry: StateEntry<T> | undefined, reason: KeyChange["reason"]): void {
    if (!this.#isReady) return;
    const previous = this.#shown.get(key);
    // A page repeats a value that a message has brought.
    if (previous === entry || (previous?.seq === entry?.seq && previous?.sentAt === entry?.sentAt)) return;
    if (entry) this.#shown.set(key, entry);
    else this.#shown.delete(key);
    this.emit("change", { key, entry, previous, reason });
  }

  #wakeAt(time: number): void {
    const at = Math.max(time, this.#sweptAt + SWEEP_MS);
    if (at >= this.#timerAt) return;
    this.#timerAt = at;
    this.#timer.set(Math.min(at - this.#ports.serverNow(), MAX_TIMER_MS), () => this.#sweep());
  }

  /** Ends values, and forgets keys without a value, whose time is over. */
  #sweep(): void {
    const life = this.#ready;
    const time = this.#ports.serverNow();
    this.#sweptAt = time;
    this.#timer.clear();
    this.#timerAt = Infinity;
    for (const [key, slot] of this.#slots) {
      if (slot.until > time) {
        this.#wakeAt(slot.until);
      } else if (slot.entry) {
        const until = slot.version ? slot.until + this.#retentionMs : time + PAGE_UNDER_WAY_MS;
        this.#slots.set(key, { ...slot, entry: undefined, until });
        this.#wakeAt(until);
        this.#show(key, undefined, "expired");
        if (life !== this.#ready) return;
      } else {
        this.#slots.delete(key);
      }
    }
  }
}
