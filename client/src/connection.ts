import { decodeFrame } from "./decode.js";
import { RoomcastError } from "./errors.js";
import {
  type BroadcastFrame,
  type ClientFrame,
  type ErrorFrame,
  encodeFrame,
  type Reply,
  type ReplyFrame,
} from "./frames.js";
import type { Settings } from "./options.js";
import { deferred, now, Timer } from "./timing.js";
import type { WebSocketLike } from "./websocket.js";

/** What a connection tells its owner; replies go to whoever asked. */
export interface ConnectionPorts {
  broadcast(frame: BroadcastFrame): void;
  /** What the server's clock says, in Unix milliseconds. */
  clock(time: number): void;
  /** A request for this room was answered after it had been given up: the server may have joined it, or left it, only now. */
  late(roomId: string, left?: true): void;
  /** An error that belongs to no request. */
  error(error: RoomcastError): void;
}

/**
 * Until when the server has asked to wait, on whatever connection: with each kind of frame, and with messages, logged or not, to each room. A room that
 * is behind makes its own senders wait, and no others; if it is the client that sends too much, each room finds that out for itself.
 */
export type Waits = Map<string, number>;

interface PendingRequest {
  /** What an answer that asks to wait is about: see `Waits`. */
  kind: string;
  expects: ReplyFrame["type"];
  bytes: number;
  resolve(frame: ReplyFrame): void;
  reject(error: RoomcastError): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Close codes with a meaning for us (RFC 6455, section 7.4.1). */
const NORMAL = 1000;
const TOO_BIG = 1009;

/** A connection is replaced this long before its token expires, or after three quarters of the token's time if that is earlier. */
const RENEWAL_MS = 120_000;

/**
 * A token that is good for less is not worth a hand-over. It bounds what a provider can cost that gives an old token again: each
 * hand-over comes after two thirds of the time that is left, so from two hours it takes five to get here.
 */
const SHORTEST_TOKEN_MS = 20_000;

/** One open WebSocket: matches replies to requests. It is used until it is lost and then thrown away. */
export class Connection {
  /** Why the connection was lost; `undefined` while it is not. */
  end: RoomcastError | undefined;
  readonly openedAt = now();
  /** It is to be replaced, or its token has expired. */
  stale = false;
  /** Resolves when it becomes stale, or is lost. */
  readonly used = deferred<void>();
  readonly #socket: WebSocketLike;
  readonly #ports: ConnectionPorts;
  readonly #settings: Settings;
  readonly #waits: Waits;
  readonly #lost = deferred<RoomcastError>();
  readonly #pending = new Map<string, PendingRequest>();
  /** When the last frame came in, whatever it was: a sign of life. */
  #lastFrameAt = 0;
  readonly #renewal = new Timer();
  readonly #expiry = new Timer();
  #nextRequest = 1;
  #checking = false;

  /** Takes over an open socket. */
  constructor(socket: WebSocketLike, ports: ConnectionPorts, settings: Settings, waits: Waits) {
    this.#socket = socket;
    this.#ports = ports;
    this.#settings = settings;
    this.#waits = waits;
    this.#replaceAfter(settings.handoverAfterMs);
    socket.onmessage = (event) => this.#onMessage(event.data);
    socket.onclose = (event) => this.#onClose(event.code, event.reason);
    // An error event is always followed by a close event; Node's `ws` throws if nobody listens.
    socket.onerror = () => {};
  }

  /** Resolves, once, with the reason for which the connection is of no more use. */
  get lost(): Promise<RoomcastError> {
    return this.#lost.promise;
  }

  /**
   * Sends a frame and waits for its reply. Rejects with the server's error, with `timeout`, or with `disconnected`;
   * with `too_large` or `bad_request` if the frame cannot be sent at all; with `rate_limited`, without sending it, while the server has
   * asked to wait.
   */
  async request<T extends ReplyFrame["type"]>(frame: ClientFrame, expects: T, timeoutMs: number): Promise<Reply<T>> {
    if (this.end) throw this.end;
    const kind = frame.action + ("data" in frame ? frame.roomId : "") + ("ephemeral" in frame ? "~" : "");
    const sentAt = now();
    const retryAfterMs = (this.#waits.get(kind) ?? 0) - sentAt;
    if (retryAfterMs > 0) throw new RoomcastError("rate_limited", "the server asks to wait", { retryAfterMs });
    this.#waits.delete(kind);
    const requestId = `r${this.#nextRequest++}`;
    const { text, bytes } = encodeFrame(frame, requestId);
    return new Promise<Reply<T>>((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new RoomcastError("timeout", `no reply to ${frame.action} within ${timeoutMs} ms`);
        this.#settle(requestId)?.reject(error);
        if (this.#lastFrameAt <= sentAt) this.#silent(frame, error);
      }, timeoutMs);
      // The compiler cannot see that `expects` and the reply's type are compared before this is called.
      const accept = resolve as (frame: ReplyFrame) => void;
      this.#pending.set(requestId, { kind, expects, bytes, resolve: accept, reject, timer });
      try {
        this.#socket.send(text);
      } catch (cause) {
        // The socket is closing. Its close event may be long in coming, and nothing can be sent until then.
        this.close(new RoomcastError("disconnected", "the connection is closing", { cause }));
      }
    });
  }

  /** The server has said, in answer to a frame of `sentAt`, that the token expires in `ms`, counted from then or later. */
  expiresIn(ms: number | undefined, sentAt: number): void {
    // Each answer says the same.
    if (ms === undefined || this.#expiry.running) return;
    // Nothing more comes in then, so there is no reason to wait until a frame is refused.
    this.#expiry.set(sentAt + ms - now(), () => this.#expired());
    if (typeof this.#settings.token === "string" || ms < SHORTEST_TOKEN_MS) return;
    const age = sentAt - this.openedAt + ms - Math.min(ms / 4, RENEWAL_MS);
    if (age < this.#settings.handoverAfterMs) this.#replaceAfter(age);
  }

  /** Replaced up to a tenth earlier: clients that connected together, or fetched their tokens together, do not come back together. */
  #replaceAfter(ms: number): void {
    this.#renewal.set(this.openedAt + ms * (1 - Math.random() / 10) - now(), () => {
      this.stale = true;
      this.used.resolve();
    });
  }

  #expired(): void {
    this.stale = true;
    this.close(new RoomcastError("disconnected", "the token has expired"));
  }

  /** Closes the connection. `reason` is what its requests are rejected with. */
  close(reason: RoomcastError): void {
    this.#finish(reason);
    try {
      this.#socket.close(NORMAL);
    } catch {
      // Some implementations throw when the socket is already closed: then there is nothing to do.
    }
  }

  /**
   * Nothing at all has come in since `frame` was sent: a half-open connection looks like this, and in no other way. A `sync` is
   * answered by every server that lives, so the connection is dropped; after any other frame, an empty `sync` asks for a sign of life. It does
   * not wait, even if the server has asked to: the wait could be longer than anybody can be deaf.
   */
  #silent({ action }: ClientFrame, cause: RoomcastError): void {
    if (action === "sync") {
      // Without waiting for a closing handshake that will not come.
      this.close(new RoomcastError("disconnected", "the connection is silent", { cause }));
      this.#socket.terminate?.();
    } else if (!this.#checking) {
      this.#checking = true;
      this.#waits.delete("sync");
      const checked = () => void (this.#checking = false);
      this.request({ action: "sync", rooms: {} }, "synced", this.#settings.syncTimeoutMs).then(checked, checked);
    }
  }

  #onMessage(data: unknown): void {
    if (this.end) return;
    this.#lastFrameAt = now();
    const frame = decodeFrame(data);
    if (!frame) return;
    if (frame.type === "messages" || frame.type === "presence" || frame.type === "ephemeral")
      return this.#ports.broadcast(frame);
    if (frame.type === "error") return this.#onError(frame);
    if ("now" in frame && frame.now !== undefined) this.#ports.clock(frame.now);
    const request = this.#settle(frame.requestId);
    if (frame.type === request?.expects) return request.resolve(frame);
    request?.reject(new RoomcastError("protocol", `the server sent ${frame.type}, not ${request.expects}`));
    if (frame.type === "joined") this.#ports.late(frame.roomId);
    if (frame.type === "synced") for (const roomId of Object.keys(frame.rooms)) this.#ports.late(roomId);
    if (frame.type === "left") this.#ports.late(frame.roomId, true);
  }

  #onError({ code, message, retryAfterMs, requestId, reason }: ErrorFrame): void {
    // What was refused is done again on the next connection, with another token.
    if (reason === "token_expired") return this.#expired();
    const error = new RoomcastError(code, message, { retryAfterMs });
    const requests = (requestId === undefined ? this.#guessRequests(error) : [requestId]).flatMap(
      (id) => this.#settle(id) ?? [],
    );
    for (const { kind, reject } of requests) {
      if (retryAfterMs) this.#waits.set(kind, now() + retryAfterMs);
      reject(error);
    }
    if (requests.length === 0) this.#ports.error(error);
  }

  /**
   * API Gateway's own errors do not say which request they answer. When it throttles, it throttles all: every request is made
   * again later. Any other error is that of the only request there is, or nobody's. When the guess is wrong a request is
   * repeated for nothing, hence only for errors that lead to that.
   */
  #guessRequests(error: RoomcastError): string[] {
    const pending = [...this.#pending.keys()];
    return error.retryable && (error.code === "rate_limited" || pending.length === 1) ? pending : [];
  }

  #onClose(code: number, reason: string): void {
    if (code === TOO_BIG) {
      // Only the largest frame in flight can be what the server refused; repeating it would cut the next connection too.
      const [largest] = [...this.#pending].sort(([, a], [, b]) => b.bytes - a.bytes);
      this.#settle(largest?.[0])?.reject(new RoomcastError("too_large", `the frame has ${largest?.[1].bytes} bytes`));
    }
    this.#finish(
      new RoomcastError("disconnected", `the connection was closed (code ${code}${reason ? `, ${reason}` : ""})`),
    );
  }

  #finish(reason: RoomcastError): void {
    if (this.end) return;
    this.end = reason;
    this.#renewal.clear();
    this.#expiry.clear();
    for (const requestId of [...this.#pending.keys()]) this.#settle(requestId)?.reject(reason);
    this.#lost.resolve(reason);
    this.used.resolve();
  }

  /** The request with this id, which from now on is no longer pending. */
  #settle(requestId = ""): PendingRequest | undefined {
    const request = this.#pending.get(requestId);
    this.#pending.delete(requestId);
    clearTimeout(request?.timer);
    return request;
  }
}
