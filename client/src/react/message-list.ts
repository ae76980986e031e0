import type { Message, Room, RoomcastError } from "../index.js";
import { Watched } from "./shared.js";

/** A room's messages at one moment. A snapshot never changes: a new message makes a new one. */
export interface MessagesSnapshot<T> {
  /** Messages in the order of the log. */
  messages: readonly Message<T>[];
  /** True while a page of the past is being read, or waits for the room to be joined. */
  loading: boolean;
  /** True if the log may have older messages than these. */
  more: boolean;
  /** The error for which the past could not be read. The next try clears it. */
  error: RoomcastError | undefined;
}

/** Largest page of the past that the server hands out (protocol). */
const MAX_PAGE = 100;

/** Time between two updates: a room may get hundreds of frames a second, and a screen shows sixty. */
const UPDATE_MS = 16;

/**
 * Pauses between looks for messages that the log did not show yet. A page of the past is an eventually consistent read:
 * for some hundred milliseconds it may lack the newest messages. The looks end, because a missing message may have
 * expired, or be bad.
 */
const LOOK_AGAIN_MS = [500, 2_000, 8_000];

/**
 * The newest messages of a room, in a list that grows with it, and backwards on demand. It is filled only while it is
 * watched.
 */
export class MessageList<T> {
  readonly #room: Room<T>;
  readonly #limit: number;
  readonly #history: number;
  readonly #watched = new Watched(() => this.#watch());
  readonly #initial: MessagesSnapshot<T>;
  #snapshot: MessagesSnapshot<T>;
  /** Messages by ascending `seq`, each once. The list may be longer than the bound between updates. */
  #messages: Message<T>[] = [];
  /** Number of messages that are kept: `limit`, and those that were read from the past on demand. */
  #bound: number;
  #more: boolean;
  #error: RoomcastError | undefined;
  #reading: Promise<void> | undefined;
  /** True if the first page of the past was read, or is beyond the bound. */
  #begun = false;
  /** True if the room was joined while the list is watched. */
  #started = false;
  /** The `seq` up to which the past must reach. Later messages are delivered. */
  #reach = 0;
  /** True if all messages after `#reach` are delivered. Otherwise `#reach` may be too small. */
  #exact = false;
  /** True if no message up to `#reach` is here, because they are beyond the bound. */
  #cutOff = false;
  /** The position at which the room was left. */
  #leftAt: number | undefined;
  #looks = 0;
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Number of times that the beginning was cut off: a page under way is no longer the one before it. */
  #cuts = 0;
  /** Number of times that the list was emptied: a page under way belongs to another list. */
  #generation = 0;

  constructor(room: Room<T>, limit: number, history: number) {
    this.#room = room;
    this.#limit = this.#bound = Math.max(limit, history, 1);
    this.#history = history;
    this.#more = history === 0;
    this.#initial = Object.freeze({
      messages: Object.freeze([]),
      loading: history > 0,
      more: this.#more,
      error: undefined,
    });
    this.#snapshot = this.#initial;
  }

  readonly subscribe = this.#watched.subscribe;
  readonly snapshot = (): MessagesSnapshot<T> => this.#snapshot;
  readonly initial = (): MessagesSnapshot<T> => this.#initial;

  /** Reads a page of older messages, and keeps it although it is beyond the limit. Failure shows as `error`. */
  readonly loadOlder = (): Promise<void> => {
    this.#bound = Math.max(this.#bound, this.#messages.length + this.#page);
    return this.#read(this.#page);
  };

  get #page(): number {
    return this.#history === 0 ? MAX_PAGE / 2 : this.#history;
  }

  #watch(): () => void {
    // A component that has gone may have asked for older messages.
    this.#clear();
    const room = this.#room;
    const stops = [
      room.on("message", (message) => this.#append(message)),
      // The room is not joined yet, and its client perhaps not connected.
      room.on("joined", ({ rejoined }) => {
        // The list goes on where the room does: after a lost connection, and where it was left.
        if (this.#started && (rejoined || room.seq === this.#leftAt)) this.#goOn();
        else this.#beginAnew(room.seq ?? 0);
      }),
      room.on("left", () => {
        if (this.#started) this.#leftAt = room.seq;
      }),
      room.on("truncated", ({ after, seq }) => {
        // The log was started anew from an older copy: the messages that are shown belong to another one.
        if (seq > 0 && seq < after) this.#beginAnew(seq);
      }),
    ];
    if (room.status === "joined" || room.status === "recovering") {
      // `#reach` is too small while an iterator still has messages to read that listeners were given before this one.
      this.#reach = room.seq ?? 0;
      this.#begin();
    }
    return () => {
      for (const stop of stops) stop();
      this.#clear();
      this.#snapshot = this.#initial;
    };
  }

  #beginAnew(reach: number): void {
    this.#clear();
    this.#reach = reach;
    this.#exact = true;
    this.#begin();
    this.#changed();
  }

  #clear(): void {
    this.#generation++;
    clearTimeout(this.#timer);
    clearTimeout(this.#lookTimer);
    this.#timer = this.#lookTimer = undefined;
    this.#messages = [];
    this.#bound = this.#limit;
    this.#reading = this.#error = this.#leftAt = undefined;
    this.#begun = this.#started = this.#exact = this.#cutOff = false;
    this.#reach = this.#looks = 0;
    this.#more = this.#history === 0;
  }

  #begin(): void {
    this.#started = true;
    if (this.#history > 0 && !this.#begun) void this.#read(this.#history);
  }

  #goOn(): void {
    // A reading that failed without a connection is worth another try.
    if (this.#error !== undefined) this.#looks = 0;
    this.#begin();
    this.#lookLater();
  }

  #read(count: number): Promise<void> {
    this.#reading ??= this.#readPages(count, this.#generation);
    return this.#reading;
  }

  async #readPages(count: number, generation: number): Promise<void> {
    this.#error = undefined;
    this.#changed();
    let before = this.#begun ? this.#messages[0]?.seq : undefined;
    if (before === undefined && this.#exact) before = this.#reach + 1;
    let missing = count;
    let limit = Math.min(missing, MAX_PAGE);
    try {
      while (missing > 0) {
        const cuts = this.#cuts;
        const {
          messages,
          more,
          before: older,
        } = await this.#room.history({ limit, ...(before !== undefined && { before }) });
        if (generation !== this.#generation) return;
        if (cuts !== this.#cuts) break;
        this.#merge(messages);
        if (!this.#exact) this.#reach = Math.max(this.#reach, messages.at(-1)?.seq ?? 0);
        this.#begun = true;
        this.#cutOff = false;
        this.#more = more;
        if (!more || older === undefined) break;
        before = older;
        missing -= messages.length;
        // A page of bad messages only may be followed by more of them.
        limit = messages.length === 0 ? MAX_PAGE : Math.min(missing, MAX_PAGE);
      }
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#error = error as RoomcastError;
      if (!this.#begun) this.#more = true;
    }
    this.#reading = undefined;
    this.#lookLater();
    this.#changed();
  }

  /** The newest message of the past that is in the list. */
  get #newestPast(): number {
    return this.#messages.filter(({ seq }) => seq <= this.#reach).at(-1)?.seq ?? 0;
  }

  #lookLater(): void {
    if (!this.#begun || this.#cutOff || this.#lookTimer !== undefined || this.#newestPast >= this.#reach) return;
    const pause = LOOK_AGAIN_MS[this.#looks];
    if (pause === undefined) return;
    this.#looks++;
    this.#lookTimer = setTimeout(() => {
      this.#lookTimer = undefined;
      void this.#look(this.#reach, this.#generation);
    }, pause);
  }

  /** Looks for the newest messages of the past, up to `reach`, in the background. */
  async #look(reach: number, generation: number): Promise<void> {
    try {
      const { messages, more } = await this.#room.history({ limit: Math.min(this.#page, MAX_PAGE), before: reach + 1 });
      if (generation !== this.#generation) return;
      this.#error = undefined;
      if (reach === this.#reach) this.#mend(messages, more);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#error = error as RoomcastError;
    }
    this.#lookLater();
    this.#changed();
  }

  /** Adds the messages of a page that the list lacks. */
  #mend(page: readonly Message<T>[], more: boolean): void {
    const newest = this.#newestPast;
    const found = page.filter(({ seq }) => seq > newest);
    if (found.length > 0 && found.length === page.length) {
      // The page, or one that is on its way, may not reach back to the messages that are here.
      this.#messages = this.#messages.filter(({ seq }) => seq > this.#reach);
      this.#more = more;
      this.#cuts++;
    }
    this.#merge(found);
  }

  #append(message: Message<T>): void {
    const last = this.#messages.at(-1);
    if (last === undefined || last.seq < message.seq) this.#messages.push(message);
    else this.#merge([message]);
    if (!this.#exact) {
      this.#exact = true;
      this.#reach = Math.max(this.#reach, message.seq - 1);
      this.#lookLater();
    } else if (message.seq === this.#reach && !this.#cutOff) {
      // A delivered message is none of the past. The newest message of the past is an earlier one, still to be found.
      this.#reach--;
      this.#lookLater();
    }
    // Timers of a hidden page may be a minute late.
    if (this.#messages.length > 2 * this.#bound) this.#trim();
    this.#changed();
  }

  /** Adds messages that may be there already, because the past and the delivered messages meet somewhere. */
  #merge(messages: readonly Message<T>[]): void {
    const bySeq = new Map([...messages, ...this.#messages].map((message) => [message.seq, message]));
    this.#messages = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
  }

  #trim(): void {
    const excess = this.#messages.length - this.#bound;
    if (excess <= 0) return;
    const last = this.#messages.splice(0, excess).at(-1)?.seq ?? 0;
    this.#cuts++;
    this.#begun = this.#more = true;
    if (last < this.#reach && !this.#cutOff) return;
    this.#reach = last;
    this.#looks = 0;
    this.#exact = this.#cutOff = true;
    // The messages to look for are cut off, and older ones would not reach up to those that are here.
    clearTimeout(this.#lookTimer);
    this.#lookTimer = undefined;
  }

  #changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#trim();
      const loading = this.#reading !== undefined || (this.#history > 0 && !this.#begun && this.#error === undefined);
      this.#snapshot = { messages: [...this.#messages], loading, more: this.#more, error: this.#error };
      this.#watched.notify();
    }, UPDATE_MS);
  }
}

const lists = new WeakMap<Room<never>, Map<string, MessageList<never>>>();

/** The list of a room with these bounds. It is always the same, so that components that show the same see the same. */
export function messageList<T>(room: Room<T>, limit: number, history: number): MessageList<T> {
  const key = room as unknown as Room<never>;
  let ofRoom = lists.get(key);
  if (ofRoom === undefined) lists.set(key, (ofRoom = new Map()));
  const bounds = `${limit}/${history}`;
  let list = ofRoom.get(bounds) as MessageList<T> | undefined;
  if (list === undefined) {
    list = new MessageList<T>(room, limit, history);
    ofRoom.set(bounds, list as unknown as MessageList<never>);
  }
  return list;
}
