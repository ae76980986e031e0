import { type Cancellation, cancellable, unlessCancelled } from "./cancellation.js";
import { RoomcastError } from "./errors.js";

/** The part of an `AbortSignal` that the library uses. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(event: "abort", listener: () => void): void;
  removeEventListener(event: "abort", listener: () => void): void;
}

export interface CallOptions {
  /**
   * Ends the call: it rejects at once, with the signal's reason. A `send` or `history` is not tried again; a room that is being
   * joined, a room that is being left and a client that is connecting go on: `leave()` and `close()` end those.
   */
  signal?: AbortSignalLike;
}

/**
 * Does `work` unless the signal is aborted, and rejects as soon as it is. `work` gets a cancellation that follows the signal and
 * `parent`.
 */
export function unlessAborted<T>(
  signal: AbortSignalLike | undefined,
  work: (cancellation: Cancellation | undefined) => Promise<T>,
  parent?: Cancellation,
): Promise<T> {
  if (!signal) return work(parent);
  return cancellable(
    parent,
    (call) => {
      // Old React Natives have signals without a reason.
      const abort = () => call.cancel(signal.reason ?? new RoomcastError("aborted", "aborted"));
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort);
      return () => signal.removeEventListener("abort", abort);
    },
    async (call) => {
      call.throwIfCancelled();
      return unlessCancelled(work(call), call);
    },
  );
}
