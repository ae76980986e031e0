import type { VirtualTime } from "../virtual-time.js";

/** Time after its end for which a token is still taken on an open connection. */
const LEEWAY_MS = 5_000;

/**
 * Tokens: a client's name, or one with an end, `name~1750000000000` (Unix milliseconds). The rows that a connection
 * puts expire with its token too.
 */
export class Tokens {
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  issue(name: string, ms: number): string {
    return `${name}~${this.#time.now + Math.round(ms)}`;
  }

  nameOf(token: string): string {
    return token.replace(/~.*/, "");
  }

  /** Milliseconds until the token ends, infinite if it never does; below 0 if it has. */
  left(token: string): number {
    const [, end] = token.split("~");
    return end === undefined ? Number.POSITIVE_INFINITY : Number(end) - this.#time.now;
  }

  /** True if frames on a connection that was opened with this token are refused. */
  isOver(token: string): boolean {
    return this.left(token) < -LEEWAY_MS;
  }
}
