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
   * A signal that ends the call: it rejects at once, with the signal's reason. A `send` or `history` is not tried
   * again. A `join`, `leave` or `connect` goes on without the caller: `leave()` and `close()` end those.
   */
  signal?: AbortSignalLike;
}

/**
 * Does `work`, and rejects as soon as the signal is aborted. The cancellation that `work` gets follows the signal and
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
