import type { RoomcastError } from "./errors.js";
import type { StatePage } from "./frames.js";
import type { Accepted } from "./send.js";
import type { SetOptions } from "./state-types.js";

/** Calls of the map to its room. */
export interface StatePorts<T> {
  parse(data: unknown): T;
  /** Reads a page behind the key `after`, which is not older than `seq`. */
  page(after: string, seq: number): Promise<StatePage>;
  set(key: string, data: T, options: SetOptions): Promise<Accepted>;
  remove(key: string, options: SetOptions): Promise<Accepted>;
  /** The server's clock, in Unix milliseconds. */
  serverNow(): number;
  /** Tells that the map needs no message up to `seq` any more. */
  skip(seq: number): void;
  error(error: RoomcastError): void;
  /** Called when somebody listens. */
  used(): void;
}
