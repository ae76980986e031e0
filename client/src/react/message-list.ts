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
  /** The first page of the past was read, or none is wanted. */
  #begun = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts the times that it was emptied: what was asked for before belongs to another list. */
  #generation = 0;

  constructor(room: Room<T>, limit: number, history: number) {
    this.#room = room;
    this.#limit = this.#bound = Math.max(limit, history, 1);
    this.#history = history;
    this.#more = history === 0;
    this.#initial = Object.freeze({ messages: Object.freeze([]), loading: history > 0, more: this.#more, error: undefined });
    this.#snapshot = this.#initial;
  }

  readonly subscribe = this.#watched.subscribe;
  readonly snapshot = (): MessagesSnapshot<T> => this.#snapshot;
  readonly initial = (): MessagesSnapshot<T> => this.#initial;

  /** Reads a page of what is before the first message, and keeps it although it is beyond the limit. Failure shows as `error`. */
  readonly loadOlder = (): Promise<void> => {
    const page = this.#history === 0 ? MAX_PAGE / 2 : this.#history;
    this.#bound = Math.max(this.#bound, this.#messages.length + page);
    return this.#read(page);
  };

  #watch(): () => void {
    const room = this.#room;
    const stops = [
      room.on("message", (message) => this.#append(message)),
      // A room that is not joined yet has a client that may not be connected.
      room.on("joined", () => this.#begin()),
      room.on("truncated", ({ after, seq }) => {
        // The log was started anew from an older copy: what is shown belongs to another one.
        if (seq === 0 || seq >= after) return;
        this.#clear();
        this.#begin();
        this.#changed();
      }),
    ];
    if (room.state === "joined" || room.state === "recovering") this.#begin();
    return () => {
      for (const stop of stops) stop();
      this.#clear();
      this.#snapshot = this.#initial;
    };
  }

  #clear(): void {
    this.#generation++;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#messages = [];
    this.#bound = this.#limit;
    this.#reading = this.#error = undefined;
    this.#begun = false;
    this.#more = this.#history === 0;
  }

  #begin(): void {
    if (this.#history === 0) this.#begun = true;
    if (!this.#begun) void this.#read(this.#history);
  }

  #read(count: number): Promise<void> {
    this.#reading ??= this.#readPages(count, this.#generation);
    return this.#reading;
  }

  async #readPages(count: number, generation: number): Promise<void> {
    this.#error = undefined;
    this.#changed();
    // What is there may be newer than the newest of the past, when the first page has not been read.
    let before = this.#begun ? this.#messages[0]?.seq : undefined;
    try {
      for (let missing = count; missing > 0; ) {
        const options = { limit: Math.min(missing, MAX_PAGE), ...(before !== undefined && { before }) };
        const { messages, more } = await this.#room.history(options);
        if (generation !== this.#generation) return;
        this.#begun = true;
        this.#merge(messages);
        this.#more = more;
        before = messages[0]?.seq;
        missing = more && before !== undefined ? missing - messages.length : 0;
      }
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#error = error as RoomcastError;
    }
    this.#reading = undefined;
    this.#changed();
  }

  #append(message: Message<T>): void {
    const last = this.#messages.at(-1);
    if (last === undefined || last.seq < message.seq) this.#messages.push(message);
    else this.#merge([message]);
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
    this.#messages.splice(0, excess);
    this.#more = true;
  }

  #changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#trim();
      const loading = this.#reading !== undefined || (!this.#begun && this.#error === undefined);
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
