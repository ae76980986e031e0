import { Cancellation } from "./cancellation.js";
import { Connection, type ConnectionPorts } from "./connection.js";
import { describe, RoomcastError } from "./errors.js";
import type { Settings } from "./options.js";
import { now, unlessCancelled, within } from "./timing.js";
import { isExpired } from "./token.js";
import { globalWebSocket, openSocket } from "./websocket.js";

/** An attempt this young is not given up for the hope that the next one is faster. */
const HURRY_AFTER_MS = 1_000;

/** Opens connections, each with a token of its own. */
export class Dialer {
  readonly #settings: Settings;
  /** The last handshake that was answered was refused. */
  #refused = false;
  /** The attempt under way. */
  #attempt: { cancellation: Cancellation; startedAt: number } | undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Rejects with `token_failed` or `connect_failed`, or with the reason when it is cancelled. */
  async dial(ports: ConnectionPorts, cancellation: Cancellation): Promise<Connection> {
    const { connectTimeoutMs } = this.#settings;
    const WebSocket = this.#settings.WebSocket ?? globalWebSocket();
    const attempt = { cancellation: new Cancellation(), startedAt: now() };
    const forget = cancellation.onCancel((reason) => attempt.cancellation.cancel(reason));
    this.#attempt = attempt;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const token = await this.#token(attempt.cancellation);
      attempt.cancellation.throwIfCancelled();
      timer = setTimeout(() => {
        attempt.cancellation.cancel(new RoomcastError("connect_failed", `no connection within ${connectTimeoutMs} ms`));
      }, connectTimeoutMs);
      const socket = await openSocket(WebSocket, withToken(this.#settings.url, token), attempt.cancellation);
      this.#refused = false;
      return new Connection(socket, ports);
    } catch (error) {
      // Not if it was this side that ended it.
      this.#refused ||= timer !== undefined && attempt.cancellation.reason === undefined;
      throw error;
    } finally {
      clearTimeout(timer);
      forget();
      if (this.#attempt === attempt) this.#attempt = undefined;
    }
  }

  /** The network has changed: gives up an attempt that gets no answer. Whether there was one. */
  hurry(): boolean {
    const attempt = this.#attempt;
    if (attempt === undefined || now() - attempt.startedAt < HURRY_AFTER_MS) return false;
    attempt.cancellation.cancel(new RoomcastError("connect_failed", "the network has changed during the handshake"));
    return true;
  }

  async #token(cancellation: Cancellation): Promise<string> {
    const ms = this.#settings.connectTimeoutMs;
    const late = () => new RoomcastError("token_failed", `no token within ${ms} ms`);
    // Not called in a plain expression: a provider that throws at once is one that rejects.
    const provided = Promise.resolve({ refused: this.#refused }).then(this.#settings.token);
    let token: unknown;
    try {
      token = await within(unlessCancelled(provided, cancellation), ms, late);
    } catch (cause) {
      cancellation.throwIfCancelled();
      const retryable = (cause as { retryable?: unknown } | null | undefined)?.retryable !== false;
      throw new RoomcastError("token_failed", `the token provider failed: ${describe(cause)}`, { cause, retryable });
    }
    if (typeof token !== "string" || token === "") {
      throw new RoomcastError("token_failed", "the token provider returned no token", { retryable: false });
    }
    // Only when it was refused: the clock of the device may be wrong.
    if (this.#refused && this.#settings.fixedToken && isExpired(token)) {
      throw new RoomcastError("token_failed", "the token has expired: pass a function that returns a new one", { retryable: false });
    }
    return token;
  }
}

/** The address with the token in its query; one that is there already is replaced. */
function withToken(url: string, token: string): string {
  const [path = "", query = ""] = url.split(/\?(.*)/s, 2);
  const others = query.split("&").filter((part) => part !== "" && !part.startsWith("token="));
  return `${path}?${[...others, `token=${encodeURIComponent(token)}`].join("&")}`;
}
