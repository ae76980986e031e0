import { type Cancellation, cancellable, unlessCancelled } from "./cancellation.js";
import type { RoomcastError } from "./errors.js";

/** A promise with the functions that settle it. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

/** A `Deferred` whose rejection may go unobserved, because it is reported in another way too. */
export function deferred<T>(): Deferred<T> {
  const ends = {} as Deferred<T>;
  ends.promise = quiet(new Promise((resolve, reject) => Object.assign(ends, { resolve, reject })));
  return ends;
}

/** The same promise. Its rejection may go unobserved, because events tell of it too. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Resolves after `ms`, or rejects with the reason as soon as it is cancelled. */
export function sleep(ms: number, cancellation: Cancellation): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      forget();
      resolve();
    }, ms);
    const forget = cancellation.onCancel((reason) => {
      clearTimeout(timer);
      reject(reason);
    });
  });
}

/** One timeout at a time. */
export class Timer {
  #timeout: ReturnType<typeof setTimeout> | undefined;

  get running(): boolean {
    return this.#timeout !== undefined;
  }

  set(ms: number, work: () => void): void {
    this.clear();
    this.#timeout = setTimeout(() => {
      this.#timeout = undefined;
      work();
    }, ms);
  }

  clear(): void {
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
  }
}

/** Does `work` with a deadline: a cancellation that follows `parent`, or comes after `ms` with the reason `late()`. */
export function within<T>(
  ms: number,
  late: () => RoomcastError,
  work: (deadline: Cancellation) => Promise<T>,
  parent?: Cancellation,
): Promise<T> {
  return cancellable(
    parent,
    (own) => {
      const timer = setTimeout(() => own.cancel(late()), ms);
      return () => clearTimeout(timer);
    },
    work,
  );
}

/**
 * The promise's outcome, or a rejection with `late()` after `ms`, or with the reason if `parent` is cancelled first.
 */
export function inTime<T>(
  promise: Promise<T>,
  ms: number,
  late: () => RoomcastError,
  parent?: Cancellation,
): Promise<T> {
  return within(ms, late, (deadline) => unlessCancelled(promise, deadline), parent);
}

/** Difference between the wall clock and `performance.now()`. */
let offset = Date.now() - monotonic();
let slept = 0;

/**
 * Milliseconds on a clock that never goes back and does not stop while the device sleeps. It is `performance.now()`,
 * which stops on some systems, plus the leaps of the wall clock over it: after an hour's sleep that is an hour. So it is
 * if the wall clock is set forward by an hour, which looks the same.
 */
export function now(): number {
  const elapsed = monotonic();
  const ahead = Date.now() - elapsed - offset;
  // A difference of less than a second is an adjustment of the wall clock, unless there is no other clock. A step back
  // is no time at all.
  if (Math.abs(ahead) > (elapsed && 1_000)) {
    offset += ahead;
    slept += Math.max(0, ahead);
  }
  return elapsed + slept;
}

/** `performance.now()`; 0 where there is none, so that time is what the wall clock goes forward. */
function monotonic(): number {
  return (globalThis as { performance?: { now(): number } }).performance?.now() ?? 0;
}

/** Bounds of an exponential backoff, in milliseconds. */
export interface Backoff {
  /** Upper bound of the first delay. */
  base: number;
  /** Upper bound of any delay. */
  cap: number;
}

/**
 * Delay before retry number `attempt` (from 0), anywhere between 0 and the exponential bound. The jitter is full,
 * because the clients of a room lose their connections together and must not come back together. With `base` 500 ms and
 * `cap` 30 s the bounds are 0.5, 1, 2, 4, 8, 16, 30 s.
 */
export function backoffDelay({ base, cap }: Backoff, attempt: number): number {
  return Math.random() * Math.min(cap, base * 2 ** attempt);
}

/** Delay before a retry after `error`, which may ask for a longer one. */
export function retryDelay(
  backoff: Backoff,
  attempt: number,
  { retryAfterMs = 0 }: { retryAfterMs?: number | undefined },
): number {
  return Math.max(retryAfterMs, backoffDelay(backoff, attempt));
}
