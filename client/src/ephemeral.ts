import { asRoomcastError } from "./errors.js";
import type { EphemeralMessage } from "./frames.js";
import { now } from "./timing.js";

/** A message for those who are in the room now. It is not logged, and may be lost. */
export interface Ephemeral {
  roomId: string;
  from: string;
  /** The time at which the server accepted it, in Unix milliseconds by the server's clock. */
  sentAt: number;
  /** The subject matter, for example `typing`. */
  key?: string;
  data: unknown;
}

export interface EphemeralOptions {
  /**
   * The subject matter, for example `typing`: of a sender and key only the newest is passed on. At most 64 characters.
   */
  key?: string;
  /** Shortest time between two messages with this key: an earlier one is not sent. Default 3,000, without a key 0. */
  minIntervalMs?: number;
}

/**
 * Number of senders and keys that are remembered. Older ones are forgotten: the server drops messages that are five
 * seconds old.
 */
const REMEMBERED = 1_000;

/** Ephemeral messages of a room: those to send, and those to show. */
export class Ephemerals {
  readonly #sent = new Map<string | undefined, number>();
  readonly #seen = new Map<string, number>();

  /**
   * Makes one attempt to send a message with this key, unless it is too early. Returns true if the server has taken it.
   */
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
    // Without a connection nothing was sent, so the next message does not come too early.
    this.#sent.delete(key);
    return false;
  }

  /**
   * True if the message is newer than the sender's last one with its key: frames overtake each other, and come twice.
   */
  isNews({ from, key = "", sentAt }: EphemeralMessage): boolean {
    const about = JSON.stringify([from, key]);
    if (sentAt <= (this.#seen.get(about) ?? -Infinity)) return false;
    remember(this.#seen, about, sentAt);
    return true;
  }
}

/** Puts an entry last, and forgets the first of too many. */
function remember<K>(times: Map<K, number>, key: K, time: number): void {
  times.delete(key);
  times.set(key, time);
  const [oldest = key] = times.keys();
  if (times.size > REMEMBERED) times.delete(oldest);
}
