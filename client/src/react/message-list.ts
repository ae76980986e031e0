import type { Message, Room, RoomcastError } from "../index.js";
import { Watched } from "./shared.js";

/** A room's messages at one moment. Never changed: a new message makes a new one. */
export interface MessagesSnapshot<T> {
  /** In the order of the log. */
  messages: readonly Message<T>[];
  /** A page of the past is being read, or will be when the room is joined. */
  loading: boolean;
  /** The log may have older messages than these. */
  more: boolean;
  /** Why the past could not be read; the next try clears it. */
  error: RoomcastError | undefined;
}

/** Largest page of the past that the server hands out (protocol). */
const MAX_PAGE = 100;

/** Between two updates: a room may get hundreds of frames a second, a screen shows sixty. */
const UPDATE_MS = 16;

/**
 * From one look for what the log did not show yet to the next. A page of the past is an eventually consistent read: for some hundred
 * milliseconds it may lack the newest messages. Not for ever: what is missing may have expired, or be bad.
 */
const LOOK_AGAIN_MS = [500, 2_000, 8_000];

/** The newest messages of a room, in a list that grows with it, and backwards on demand. Filled only while it is watched. */
export class MessageList<T> {
  readonly #room: Room<T>;
  readonly #limit: number;
  readonly #history: number;
  readonly #watched = new Watched(() => this.#watch());
  readonly #initial: MessagesSnapshot<T>;
  #snapshot: MessagesSnapshot<T>;
  /** By ascending `seq`, each once. Between updates it may be longer than the bound. */
  #messages: Message<T>[] = [];
  /** How many messages are kept: `limit`, and what was read from the past on demand. */
  #bound: number;
  #more: boolean;
  #error: RoomcastError | undefined;
  #reading: Promise<void> | undefined;
  /** The first page of the past was read, or is beyond the bound. */
  #begun = false;
  /** The room was joined while the list is watched. */
  #started = false;
  /** The past is to reach this `seq`: what follows is delivered. */
  #reach = 0;
  /** What follows `#reach` is delivered, all of it; if not, `#reach` may be too small. */
  #exact = false;
  /** Nothing up to `#reach` is here, because it is beyond the bound. */
  #cutOff = false;
  /** Where the room was left. */
  #leftAt: number | undefined;
  #looks = 0;
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts the times that the beginning was cut off: the page before it is no longer the one that was asked for. */
  #cuts = 0;
  /** Counts the times that it was emptied: what was asked for before belongs to another list. */
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

  /** Reads a page of what is before the first message, and keeps it although it is beyond the limit. Failure shows as `error`. */
  readonly loadOlder = (): Promise<void> => {
    this.#bound = Math.max(this.#bound, this.#messages.length + this.#page);
    return this.#read(this.#page);
  };

  get #page(): number {
    return this.#history === 0 ? MAX_PAGE / 2 : this.#history;
  }

  #watch(): () => void {
    // A component that has gone may have asked for older ones.
    this.#clear();
    const room = this.#room;
    const stops = [
      room.on("message", (message) => this.#append(message)),
      // A room that is not joined yet has a client that may not be connected.
      room.on("joined", ({ rejoined }) => {
        // After a lost connection, and where it goes on from where it was left, the list does too.
        if (this.#started && (rejoined || room.seq === this.#leftAt)) this.#goOn();
        else this.#beginAnew(room.seq ?? 0);
      }),
      room.on("left", () => {
        if (this.#started) this.#leftAt = room.seq;
      }),
      room.on("truncated", ({ after, seq }) => {
        // The log was started anew from an older copy: what is shown belongs to another one.
        if (seq > 0 && seq < after) this.#beginAnew(seq);
      }),
    ];
    if (room.status === "joined" || room.status === "recovering") {
      // Too small while an iterator has messages to read that listeners were given before this one came.
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
    // What failed without a connection is worth another try.
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
        // Where all are bad, there may be many of them.
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

  /** The newest message of the past that is here. */
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

  /** Looks for the newest of the past, up to `reach`, in the background. */
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

  /** Adds what the page has more than the past that is here. */
  #mend(page: readonly Message<T>[], more: boolean): void {
    const newest = this.#newestPast;
    const found = page.filter(({ seq }) => seq > newest);
    if (found.length > 0 && found.length === page.length) {
      // It may not reach back to what is here, nor may a page that is on its way.
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
      // Delivered after one that follows it: it is none of the past, whose newest is to be looked for still.
      this.#reach--;
      this.#lookLater();
    }
    // Timers of a hidden page may be a minute late.
    if (this.#messages.length > 2 * this.#bound) this.#trim();
    this.#changed();
  }

  /** Adds messages that may be there already: the past and what is delivered meet somewhere. */
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
    // What it was to look for is cut off; older messages would not reach up to those that are here.
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

/** The list of a room with these bounds, always the same: components that show the same see the same. */
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
