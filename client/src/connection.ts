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

/** Events of a connection for its owner. Replies are not among them: they go to the callers of `request`. */
export interface ConnectionPorts {
  broadcast(frame: BroadcastFrame): void;
  /** The server's clock, in Unix milliseconds. */
  clock(time: number): void;
  /**
   * A late answer about this room, whose request was given up: the server may have joined or left the room only now.
   */
  late(roomId: string, left?: boolean): void;
  /** An error that belongs to no request. */
  error(error: RoomcastError): void;
}

/**
 * Ends of the waits that the server has asked for, by kind of frame; for messages, logged or ephemeral, by room as
 * well. They hold on every connection. A room that is behind makes its own senders wait and no others. A client that
 * sends too much finds that out room by room.
 */
export type Waits = Map<string, number>;

interface PendingRequest {
  /** The key in `Waits`, for an answer that asks to wait. */
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

/**
 * Time before the token's expiry at which a connection is replaced. A token of less than eight minutes is replaced
 * after three quarters of its time.
 */
const RENEWAL_MS = 120_000;

/**
 * Shortest rest of a token's time that is worth a hand-over. It bounds the cost of a provider that returns an old token
 * again: each hand-over comes after at least two thirds of the time that is left, so two hours are used up after
 * five.
 */
const SHORTEST_TOKEN_MS = 20_000;

/** One open WebSocket, which matches replies to requests. It is thrown away when it is lost. */
export class Connection {
  /** The reason for which the connection was lost; `undefined` before. */
  end: RoomcastError | undefined;
  readonly openedAt = now();
  /** True when the connection is due to be replaced, or its token has expired. */
  stale = false;
  /** Resolves when the connection becomes stale, or is lost. */
  readonly used = deferred<void>();
  readonly #socket: WebSocketLike;
  readonly #ports: ConnectionPorts;
  readonly #settings: Settings;
  readonly #waits: Waits;
  readonly #lost = deferred<RoomcastError>();
  readonly #pending = new Map<string, PendingRequest>();
  /** The arrival of the last frame of any kind, which is a sign of life. */
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

  /** Resolves with the reason for which the connection was lost. */
  get lost(): Promise<RoomcastError> {
    return this.#lost.promise;
  }

  /**
   * Sends a frame and waits for its reply. Rejects with the server's error, with `timeout` or with `disconnected`.
   * Nothing is sent when it rejects with `too_large` or `bad_request`, or with `rate_limited` because the server has
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
        // The socket is closing. Nothing can be sent any more, and its close event may be long in coming.
        this.close(new RoomcastError("disconnected", "the connection is closing", { cause }));
      }
    });
  }

  /** Notes the answer to a frame of `sentAt`: the token expires `ms` later, or a little after that. */
  expiresIn(ms: number | undefined, sentAt: number): void {
    // Each answer of a connection says the same.
    if (ms === undefined || this.#expiry.running) return;
    // The server sends nothing after that, so there is no reason to wait until a frame is refused.
    this.#expiry.set(sentAt + ms - now(), () => this.#expired());
    if (typeof this.#settings.token === "string" || ms < SHORTEST_TOKEN_MS) return;
    const age = sentAt - this.openedAt + ms - Math.min(ms / 4, RENEWAL_MS);
    if (age < this.#settings.handoverAfterMs) this.#replaceAfter(age);
  }

  /**
   * Has the connection replaced at the age of `ms`, or up to a tenth earlier: clients that connected together do not
   * come back together.
   */
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

  /** Closes the connection and rejects its requests with `reason`. */
  close(reason: RoomcastError): void {
    this.#finish(reason);
    try {
      this.#socket.close(NORMAL);
    } catch {
      // Some implementations throw when the socket is closed already, which needs nothing more.
    }
  }

  /**
   * Deals with a connection on which nothing has come in since `frame` was sent: it may be half open, which shows in no
   * other way. Every server that lives answers a `sync`, so after a `sync` the connection is dropped. After another
   * frame an empty `sync` asks for a sign of life. It does not heed a wait that the server has asked for, because
   * nobody should be deaf for that long.
   */
  #silent({ action }: ClientFrame, cause: RoomcastError): void {
    if (action === "sync") {
      // A closing handshake will not come, so it is not waited for.
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
    if (frame.type === "joined" || frame.type === "left") this.#ports.late(frame.roomId, frame.type === "left");
    if (frame.type === "synced") for (const roomId of Object.keys(frame.rooms)) this.#ports.late(roomId);
  }

  #onError({ code, message, retryAfterMs, requestId, reason }: ErrorFrame): void {
    // The frame that was refused is sent again on the next connection, with another token.
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
   * Pending requests that an error of API Gateway itself is taken to answer, because it names none. Throttling answers
   * all of them. Any other error answers the only one, or none if there are several. A wrong guess repeats a request
   * for nothing, so only retryable errors are assigned.
   */
  #guessRequests(error: RoomcastError): string[] {
    const pending = [...this.#pending.keys()];
    return error.retryable && (error.code === "rate_limited" || pending.length === 1) ? pending : [];
  }

  #onClose(code: number, reason: string): void {
    if (code === TOO_BIG) {
      // The largest frame in flight must be the refused one. It is not repeated, because it would cut the next
      // connection too.
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

  /** Takes the request with this id off the pending ones. */
  #settle(requestId = ""): PendingRequest | undefined {
    const request = this.#pending.get(requestId);
    this.#pending.delete(requestId);
    clearTimeout(request?.timer);
    return request;
  }
}
