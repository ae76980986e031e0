import { type Cancellation, cancellable } from "./cancellation.js";
import { Connection, type ConnectionPorts, type Waits } from "./connection.js";
import { describe, type ErrorDetails, RoomcastError } from "./errors.js";
import type { Settings } from "./options.js";
import { inTime, now, within } from "./timing.js";
import { isExpired } from "./token.js";
import { globalWebSocket, openSocket } from "./websocket.js";

/** Age below which an attempt is not given up in the hope that the next one is faster. */
const HURRY_AFTER_MS = 1_000;

/** Opens connections, each with a token of its own. */
export class Dialer {
  readonly #settings: Settings;
  /** True if the last handshake with an answer was refused. */
  #refused = false;
  /** The last connection that was opened. */
  #last: Connection | undefined;
  /** The attempt under way. */
  #attempt: Cancellation | undefined;
  #startedAt = 0;
  readonly #waits: Waits = new Map();

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Rejects with `token_failed` or `connect_failed`, or with the reason when it is cancelled. */
  dial(ports: ConnectionPorts, cancellation: Cancellation): Promise<Connection> {
    const arm = (attempt: Cancellation) => {
      this.#attempt = attempt;
      this.#startedAt = now();
      return () => {
        if (this.#attempt === attempt) this.#attempt = undefined;
      };
    };
    return cancellable(cancellation, arm, async (attempt) => {
      const { connectTimeoutMs: ms, url, WebSocket = globalWebSocket() } = this.#settings;
      const address = withToken(url, await this.#token(attempt));
      const late = () => new RoomcastError("connect_failed", `no connection within ${ms} ms`);
      return within(
        ms,
        late,
        async (handshake) => {
          try {
            const socket = await openSocket(WebSocket, address, handshake);
            this.#refused = false;
            return (this.#last = new Connection(socket, ports, this.#settings, this.#waits));
          } catch (error) {
            // A handshake that this side has ended says nothing.
            this.#refused ||= !handshake.reason;
            throw error;
          }
        },
        attempt,
      );
    });
  }

  /** Gives up an attempt that gets no answer, because the network has changed. Returns true if there was one. */
  hurry(): boolean {
    if (!this.#attempt || now() - this.#startedAt < HURRY_AFTER_MS) return false;
    this.#attempt.cancel(new RoomcastError("connect_failed", "the network has changed"));
    return true;
  }

  async #token(attempt: Cancellation): Promise<string> {
    const { connectTimeoutMs: ms, token: given } = this.#settings;
    const late = () => failed(`no token within ${ms} ms`);
    // Called from a promise, so that a provider that throws counts as one that rejects.
    const provided = Promise.resolve({ refused: this.#refused || !!this.#last?.stale }).then((request) =>
      typeof given === "string" ? given : given(request),
    );
    let token: unknown;
    try {
      token = await inTime(provided, ms, late, attempt);
    } catch (cause) {
      attempt.throwIfCancelled();
      const retryable = (cause as ErrorDetails | null | undefined)?.retryable !== false;
      throw failed(`no token: ${describe(cause)}`, { cause, retryable });
    }
    if (typeof token !== "string" || token === "") throw failed("no token", { retryable: false });
    // No better token will come. An expiry counts only after a refusal, because the device's clock may be wrong.
    if (this.#refused && token === given && isExpired(token)) {
      throw failed("the token has expired", { retryable: false });
    }
    return token;
  }
}

function failed(message: string, details?: ErrorDetails): RoomcastError {
  return new RoomcastError("token_failed", message, details);
}

/** The address with this token in its query, in place of one that is there already. */
function withToken(url: string, token: string): string {
  const [path = "", query = ""] = url.split(/\?(.*)/s, 2);
  const others = query.split("&").filter((part) => part !== "" && !part.startsWith("token="));
  return `${path}?${[...others, `token=${encodeURIComponent(token)}`].join("&")}`;
}
