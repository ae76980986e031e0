import { RoomcastError } from "./errors.js";
import { MAX_BEAT_MS, MAX_CONNECTION_MS, MAX_IDLE_MS, MAX_SEND_TIMEOUT_MS, MAX_TIMER_MS } from "./limits.js";
import type { Logger } from "./logger.js";
import type { NetworkTarget } from "./network.js";
import type { Backoff } from "./timing.js";
import type { WebSocketConstructor } from "./websocket.js";

/** The call of a token provider. */
export interface TokenRequest {
  /**
   * True if the provider should not answer from a cache: the last token has expired or expires soon, its connection is
   * old, or the last handshake was refused. Browsers do not say whether the network refused it, or the server because
   * of the token.
   */
  refused: boolean;
}

/**
 * Returns a token for a new connection. It is called for each connection: when connecting, reconnecting and handing
 * over. A rejection makes the library try again, unless the error has a property `retryable` that is `false`.
 */
export type TokenProvider = (request: TokenRequest) => string | Promise<string>;

export interface RoomcastOptions {
  /** The WebSocket API's address, `wss://…`. The token is added to its query. */
  url: string;
  /** A token, or better a function that returns one. */
  token: string | TokenProvider;
  /**
   * The WebSocket class to use. Default: the global one, which Node has from version 22 on; pass that of `ws` before.
   */
  WebSocket?: WebSocketConstructor;
  /** Time that the token provider may take, and then the handshake. Default 10 s. */
  connectTimeoutMs?: number;
  /** Time that one attempt of a request waits for its reply. Default 10 s. */
  requestTimeoutMs?: number;
  /** Time that `join`, `leave` and `history` try in total. Default 30 s. */
  operationTimeoutMs?: number;
  /**
   * Time that `send` tries in total. Default 30 s, at most four minutes: for so long a retry is sure to be idempotent.
   */
  sendTimeoutMs?: number;
  /**
   * Time from a room's last frame to the comparison with its log. A frame that was lost before a silence is found
   * within 1.25 times this. After that the server says when to look next, in the end every nine minutes. Default 30 s,
   * at most nine minutes.
   */
  syncIntervalMs?: number;
  /** Time that a beat waits for its reply before the connection counts as dead. Default 10 s. */
  syncTimeoutMs?: number;
  /** Time that frames may be out of order before the missing ones are asked for. Default 100 ms. */
  reorderWindowMs?: number;
  /** Bounds of the delays between attempts to connect. Default 500 ms and 30 s. */
  reconnect?: Partial<Backoff>;
  /** Bounds of the delays between attempts of a request. Default 200 ms and 10 s. */
  retry?: Partial<Backoff>;
  /**
   * Age at which a connection is replaced, before API Gateway cuts it at two hours. Default 110 minutes. Each
   * connection is replaced up to a tenth earlier, so that clients that connected together do not come back together.
   */
  handoverAfterMs?: number;
  /** Number of rooms that are joined at a time on a new connection. Default 8. */
  joinConcurrency?: number;
  /**
   * Number of messages of a room that may wait for the application before the library stops fetching more. Default
   * 1,000.
   */
  bufferSize?: number;
  /** Destination of log lines, for example `console`. Default: none. It is never given a token or a message's data. */
  logger?: Logger;
  /** Source of `online` and `offline` events, where the global object is none: React Native, Electron, tests. */
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
  // A pattern and not `URL`, of which React Native has only part.
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
  // Some sockets refuse a fragment, which is not for servers anyway.
  return { ...options, ...numbers, url: url.replace(/#.*/, ""), reconnect, retry };
}
