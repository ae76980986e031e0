import { Cancellation } from "./cancellation.js";
import { RoomcastError } from "./errors.js";
import { unlessCancelled } from "./timing.js";

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
  work: (cancellation: Cancellation) => Promise<T>,
  parent = new Cancellation(),
): Promise<T> {
  if (signal === undefined) return work(parent);
  if (signal.aborted) return Promise.reject(reasonOf(signal));
  const call = new Cancellation();
  const forget = parent.onCancel((reason) => call.cancel(reason));
  const abort = () => call.cancel(reasonOf(signal));
  signal.addEventListener("abort", abort);
  return unlessCancelled(work(call), call).finally(() => {
    forget();
    signal.removeEventListener("abort", abort);
  });
}

/** Old React Natives have signals without a reason. */
function reasonOf(signal: AbortSignalLike): unknown {
  return signal.reason ?? new RoomcastError("aborted", "the call was aborted");
}
