import { report } from "./emitter.js";
import type { RoomcastError } from "./errors.js";

/** Where the library writes what it does. `console` is one. It is never given a token, nor a message's data. */
export interface Logger {
  /** Frames of a room's life: joins, beats, renewed memberships. */
  debug(message: string, details?: object): void;
  /** Connections. */
  info(message: string, details?: object): void;
  /** What went wrong and is being retried, and what an application should know: a stalled room, a truncated log. */
  warn(message: string, details?: object): void;
  /** What went wrong for good. */
  error(message: string, details?: object): void;
}

/** Writes to a logger, if there is one. What it throws is reported, as what a listener throws: it disturbs nobody. */
export function log(logger: Logger | undefined, level: keyof Logger, message: string, details?: object): void {
  try {
    logger?.[level](message, details);
  } catch (error) {
    report(error);
  }
}

/** What of an error goes into a log: not its cause, which may quote the address and so the token. */
export function loggable({ code, message, roomId }: RoomcastError): object {
  return { code, message, roomId };
}
