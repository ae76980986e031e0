import type { EphemeralMessage } from "./frames.js";
import { now } from "./timing.js";

/** A message for those who are there: it is not logged, and may be lost. */
export interface Ephemeral {
  roomId: string;
  from: string;
  /** When the server accepted it, in Unix milliseconds by the server's clock. */
  sentAt: number;
  /** What it is about, e.g. `typing`. */
  key?: string;
  data: unknown;
}

export interface EphemeralOptions {
  /** What it is about. Of a sender and key only the newest is passed on. At most 64 characters. */
  key?: string;
  /** Within so many milliseconds after the last with this key nothing is sent. Default 3,000, without a key 0. */
  minIntervalMs?: number;
}

/** How many senders and keys are remembered. What is older than all of those is let go: the server drops what is five seconds old. */
const REMEMBERED = 1_000;

/** Which ephemeral messages of a room are worth sending, and showing. */
export class EphemeralFilter {
  readonly #sent = new Map<string, number>();
  readonly #seen = new Map<string, number>();

  /** Whether a message with this key may be sent now; it then counts as sent. */
  maySend(key: string, minIntervalMs: number): boolean {
    const time = now();
    if (time - (this.#sent.get(key) ?? -Infinity) < minIntervalMs) return false;
    remember(this.#sent, key, time);
    return true;
  }

  /** The last message with this key was not sent. */
  unsent(key: string): void {
    this.#sent.delete(key);
  }

  /** Whether it is newer than what its sender has said with its key: frames overtake each other, and come twice. */
  isNews({ from, key = "", sentAt }: EphemeralMessage): boolean {
    const about = JSON.stringify([from, key]);
    if (sentAt <= (this.#seen.get(about) ?? -Infinity)) return false;
    remember(this.#seen, about, sentAt);
    return true;
  }
}

/** Puts it last, and forgets the first of too many. */
function remember(times: Map<string, number>, key: string, time: number): void {
  times.delete(key);
  times.set(key, time);
  const [oldest] = times.keys();
  if (times.size > REMEMBERED && oldest !== undefined) times.delete(oldest);
}
