import { Cancellation } from "./cancellation.js";
import { Connection, type ConnectionPorts } from "./connection.js";
import { describe, RoomcastError } from "./errors.js";
import type { Settings } from "./options.js";
import { unlessCancelled, within } from "./timing.js";
import { globalWebSocket, openSocket } from "./websocket.js";

/** Opens connections, each with a token of its own. */
export class Dialer {
  readonly #settings: Settings;
  #refused = false;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Rejects with `token_failed` or `connect_failed`, or with the reason when it is cancelled. */
  async dial(ports: ConnectionPorts, cancellation: Cancellation): Promise<Connection> {
    const WebSocket = this.#settings.WebSocket ?? globalWebSocket();
    const url = new URL(this.#settings.url);
    url.searchParams.set("token", await this.#token(cancellation));
    cancellation.throwIfCancelled();
    const attempt = new Cancellation();
    const forget = cancellation.onCancel((reason) => attempt.cancel(reason));
    const timer = setTimeout(() => {
      attempt.cancel(new RoomcastError("connect_failed", `no connection within ${this.#settings.connectTimeoutMs} ms`));
    }, this.#settings.connectTimeoutMs);
    this.#refused = true;
    try {
      const socket = await openSocket(WebSocket, url.href, attempt);
      this.#refused = false;
      return new Connection(socket, ports);
    } finally {
      clearTimeout(timer);
      forget();
    }
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
    if (typeof token === "string" && token !== "") return token;
    throw new RoomcastError("token_failed", "the token provider returned no token", { retryable: false });
  }
}
