import { RoomcastError } from "./errors.js";
import { MAX_BEAT_MS, MAX_CONNECTION_MS, MAX_IDLE_MS, MAX_SEND_TIMEOUT_MS, MAX_TIMER_MS } from "./limits.js";
import type { Logger } from "./logger.js";
import type { NetworkTarget } from "./network.js";
import type { Backoff } from "./timing.js";
import type { WebSocketConstructor } from "./websocket.js";

/** What the token provider is told. */
export interface TokenRequest {
  /**
   * The last token has had its time, so do not answer from a cache: its connection is to be replaced, because the token expires soon or
   * the connection is old; or the token has expired; or the last handshake was refused. Browsers do not say whether by the network or
   * because of the token.
   */
  refused: boolean;
}

/**
 * Returns a token for a new connection. It is called for each connection: when connecting, reconnecting and handing over.
 * When it rejects, the library tries again, unless the error has a property `retryable` that is `false`.
 */
export type TokenProvider = (request: TokenRequest) => string | Promise<string>;

export interface RoomcastOptions {
  /** The WebSocket API's address, `wss://…`. The token is added to its query. */
  url: string;
  /** A token, or better a function that returns one. */
  token: string | TokenProvider;
  /** The WebSocket class to use. Default: the global one, which Node has from version 22 on; pass that of `ws` before. */
  WebSocket?: WebSocketConstructor;
  /** How long the token provider and then the handshake may take. Default 10 s. */
  connectTimeoutMs?: number;
  /** How long one attempt of a request waits for its reply. Default 10 s. */
  requestTimeoutMs?: number;
  /** How long `join`, `leave` and `history` try in total. Default 30 s. */
  operationTimeoutMs?: number;
  /** How long `send` tries in total. Default 30 s; at most four minutes, the time for which a retry is sure to be idempotent. */
  sendTimeoutMs?: number;
  /**
   * How long after a room's last frame it is compared with its log: a frame lost before a silence is found within 1.25 times
   * this. While nothing is sent the server says when to look next: every nine minutes in the end. Default 30 s, below nine minutes.
   */
  syncIntervalMs?: number;
  /** How long a heartbeat waits for its reply before the connection counts as dead. Default 10 s. */
  syncTimeoutMs?: number;
  /** How long frames may be out of order before what is missing is asked for. Default 100 ms. */
  reorderWindowMs?: number;
  /** Bounds of the delays between attempts to connect. Default 500 ms and 30 s. */
  reconnect?: Partial<Backoff>;
  /** Bounds of the delays between attempts of a request. Default 200 ms and 10 s. */
  retry?: Partial<Backoff>;
  /**
   * Age at which a connection is replaced, before API Gateway cuts it at two hours. Default 110 minutes. Each connection
   * goes up to a tenth earlier, so that clients that connected together are not replaced together.
   */
  handoverAfterMs?: number;
  /** How many rooms are joined at a time on a new connection. Default 8. */
  joinConcurrency?: number;
  /** How many messages of a room may wait for the application before the library stops fetching more. Default 1,000. */
  bufferSize?: number;
  /** Where the library writes what it does, e.g. `console`. Default: nowhere. It is never given a token or a message's data. */
  logger?: Logger;
  /** Tells of the network by `online` and `offline` events, where the global object does not: React Native, Electron, tests. */
  networkTarget?: NetworkTarget;
}

/** Default, least and largest value of each option that is a number. */
const NUMBERS = {
  connectTimeoutMs: [10_000, 1, MAX_TIMER_MS],
  requestTimeoutMs: [10_000, 1, MAX_TIMER_MS],
  operationTimeoutMs: [30_000, 1, MAX_TIMER_MS],
  sendTimeoutMs: [30_000, 1, MAX_SEND_TIMEOUT_MS],
  syncIntervalMs: [30_000, 1, MAX_BEAT_MS],
  syncTimeoutMs: [10_000, 1, MAX_IDLE_MS],
  reorderWindowMs: [100, 0, 60_000],
  handoverAfterMs: [110 * 60_000, 1, MAX_CONNECTION_MS],
  joinConcurrency: [8, 1, 1_000],
  bufferSize: [1_000, 1, 1_000_000],
} as const;

/** Options with their defaults, checked. */
export type Settings = RoomcastOptions & Record<keyof typeof NUMBERS, number> & Record<"reconnect" | "retry", Backoff>;

/** Applies the defaults; throws one `bad_request` that names every bad option. */
export function settingsOf(options: RoomcastOptions): Settings {
  const bad: string[] = [];
  const check = (right: boolean, problem: string) => void (right || bad.push(problem));
  const backoff = (name: "reconnect" | "retry", fallback: Backoff): Backoff => {
    const value = { ...fallback, ...options[name] };
    check(value.base > 0 && value.cap >= value.base && value.cap <= MAX_TIMER_MS, `${name} must be 0 < base <= cap`);
    return value;
  };
  const { url, token } = options;
  check(typeof token === "string" || typeof token === "function", "token must be a string or a function");
  // Not parsed by `URL`: React Native's has only part of it.
  check(typeof url === "string" && /^wss?:\/\/[^/?#\s]+[^#\s]*(#\S*)?$/i.test(url), "url must be ws:// or wss://");
  const numbers = {} as Record<keyof typeof NUMBERS, number>;
  for (const name of Object.keys(NUMBERS) as (keyof typeof NUMBERS)[]) {
    const [fallback, min, max] = NUMBERS[name];
    const value = (numbers[name] = options[name] ?? fallback);
    check(typeof value === "number" && value >= min && value <= max, `${name} must be a number from ${min} to ${max}`);
  }
  const reconnect = backoff("reconnect", { base: 500, cap: 30_000 });
  const retry = backoff("retry", { base: 200, cap: 10_000 });
  if (bad.length > 0) throw new RoomcastError("bad_request", `bad options: ${bad.join("; ")}`);
  // A fragment is not for servers, and some sockets refuse it.
  return { ...options, ...numbers, url: url.replace(/#.*/, ""), reconnect, retry };
}
