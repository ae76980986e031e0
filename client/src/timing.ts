import type { Cancellation } from "./cancellation.js";
import { MAX_TIMER_MS } from "./limits.js";

/** A promise with its two ends. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

/** A `Deferred` whose rejection may go unobserved: it is always reported in another way too. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** `promise`, whose rejection may go unobserved: events tell the same. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Resolves after `ms`, or rejects with the reason as soon as it is cancelled. */
export async function sleep(ms: number, cancellation: Cancellation): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(ms, MAX_TIMER_MS));
  });
  try {
    await unlessCancelled(waited, cancellation);
  } finally {
    clearTimeout(timer);
  }
}

/** `promise`, or a rejection with the reason if it is cancelled first. */
export function unlessCancelled<T>(promise: Promise<T>, cancellation: Cancellation): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = cancellation.onCancel(reject);
    promise.then(resolve, reject).finally(forget);
  });
}

/** `promise`, or a rejection with `late()` after `ms`. */
export function within<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), Math.min(ms, MAX_TIMER_MS));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** What `performance.now()` and the wall clock differ by. */
let offset = Date.now() - monotonic();
let slept = 0;

/**
 * Milliseconds on a clock that never goes back and does not stop while the device sleeps: `performance.now()`, which stops on some
 * systems, and as much as the wall clock gets ahead of it.
 */
export function now(): number {
  const elapsed = monotonic();
  const ahead = Date.now() - elapsed - offset;
  // Less is the wall clock being adjusted; a step back is no time at all.
  if (Math.abs(ahead) > CLOCK_STEP_MS) {
    offset += ahead;
    slept += Math.max(0, ahead);
  }
  return elapsed + slept;
}

const CLOCK_STEP_MS = 1_000;

function monotonic(): number {
  return (globalThis as { performance?: { now(): number } }).performance?.now() ?? Date.now();
}

/** Bounds of an exponential backoff, in milliseconds. */
export interface Backoff {
  /** Upper bound of the first delay. */
  base: number;
  /** Upper bound of any delay. */
  cap: number;
}

/**
 * Delay before retry number `attempt` (from 0): anywhere between 0 and the exponential bound. Full jitter, because the
 * clients of a room lose their connections together and must not come back together.
 */
export function backoffDelay({ base, cap }: Backoff, attempt: number): number {
  return Math.random() * Math.min(cap, base * 2 ** Math.min(attempt, 30));
}

/** The same for a request that failed with `error`, which may say how long to wait at least. */
export function retryDelay(backoff: Backoff, attempt: number, { retryAfterMs = 0 }: { retryAfterMs?: number | undefined }): number {
  return Math.max(retryAfterMs, backoffDelay(backoff, attempt));
}
