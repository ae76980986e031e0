import { report } from "./emitter.js";
import type { RoomcastError } from "./errors.js";

/** A destination of log lines, such as `console`. It is never given a token, nor a message's data. */
export interface Logger {
  /** Events of rooms, such as joins and gaps, renewed memberships, and connections that open and close. */
  debug(message: string, details?: object): void;
  /** Changes of the client's state. */
  info(message: string, details?: object): void;
  /**
   * Errors that are being retried, all errors of a room, and events that an application should know of: a stalled room,
   * a truncated log.
   */
  warn(message: string, details?: object): void;
  /** Errors of the client that are not retried. */
  error(message: string, details?: object): void;
}

/** Writes to a logger, if there is one. An error of the logger is reported as a listener's is, and disturbs nobody. */
export function log(logger: Logger | undefined, level: keyof Logger, message: string, details?: object): void {
  try {
    logger?.[level](message, details);
  } catch (error) {
    report(error);
  }
}

/** The fields of an error for a log. Its cause is left out, because it may quote the address, and so the token. */
export function loggable({ code, message, roomId }: RoomcastError): object {
  return { code, message, roomId };
}
