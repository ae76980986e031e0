import { asRoomcastError } from "./errors.js";
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

/** Sends ephemeral messages of a room, and tells which are worth showing. */
export class Ephemerals {
  readonly #sent = new Map<string | undefined, number>();
  readonly #seen = new Map<string, number>();

  /** Makes one attempt to send a message with this key, unless it is too early; whether the server has taken it. */
  async send(
    attempt: () => Promise<unknown>,
    key: string | undefined,
    minIntervalMs = key === undefined ? 0 : 3_000,
  ): Promise<boolean> {
    const time = now();
    if (time - (this.#sent.get(key) ?? -Infinity) < minIntervalMs) return false;
    remember(this.#sent, key, time);
    try {
      if (await attempt()) return true;
    } catch (thrown) {
      const { retryable, code } = asRoomcastError(thrown);
      if (!retryable) throw thrown;
      if (code !== "disconnected") return false;
    }
    // There was no connection: nothing was sent that the next would come too early after.
    this.#sent.delete(key);
    return false;
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
function remember<K>(times: Map<K, number>, key: K, time: number): void {
  times.delete(key);
  times.set(key, time);
  const [oldest = key] = times.keys();
  if (times.size > REMEMBERED) times.delete(oldest);
}
