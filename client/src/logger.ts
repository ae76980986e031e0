import { report } from "./emitter.js";
import type { RoomcastError } from "./errors.js";

/** A destination of log lines, such as `console`. It is never given a token, a message's data or an error's cause. */
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

/**
 * Writes to a logger, if there is one. Of the `error` among the details it leaves out the cause, because that may quote
 * the address, and so the token, or a message's data. An error of the logger is reported as a listener's is, and
 * disturbs nobody.
 */
export function log(logger: Logger | undefined, level: keyof Logger, text: string, details: object = {}): void {
  const { error, ...fields } = details as { error?: RoomcastError };
  try {
    logger?.[level](text, {
      ...(error && { code: error.code, message: error.message, roomId: error.roomId }),
      ...fields,
    });
  } catch (thrown) {
    report(thrown);
  }
}
