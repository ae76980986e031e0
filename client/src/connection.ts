import { RoomcastError } from "./errors.js";
import { type ClientFrame, decodeFrame, encodeFrame, type MessagesFrame, type Reply, type ReplyFrame } from "./frames.js";
import { now } from "./timing.js";
import type { WebSocketLike } from "./websocket.js";

/** What a connection tells its owner; replies go to whoever asked. */
export interface ConnectionPorts {
  broadcast(frame: MessagesFrame): void;
  /** A request for these rooms was answered after it had been given up: the server may have joined them only now. */
  late(roomIds: string[]): void;
  /** An error that belongs to no request. */
  error(error: RoomcastError): void;
}

interface PendingRequest {
  expects: ReplyFrame["type"];
  bytes: number;
  resolve(frame: ReplyFrame): void;
  reject(error: RoomcastError): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Close codes with a meaning for us (RFC 6455, section 7.4.1). */
const NORMAL = 1000;
const TOO_BIG = 1009;

/** One open WebSocket: matches replies to requests. It is used until it is lost and then thrown away. */
export class Connection {
  /** Resolves, once, with the reason for which the connection is of no more use. */
  readonly lost: Promise<RoomcastError>;
  readonly openedAt = now();
  /** When the last frame came in, whatever it was: a sign of life. */
  lastFrameAt = this.openedAt;
  readonly #socket: WebSocketLike;
  readonly #ports: ConnectionPorts;
  readonly #pending = new Map<string, PendingRequest>();
  #nextRequest = 1;
  #checking = false;
  #end: RoomcastError | undefined;
  #resolveLost!: (reason: RoomcastError) => void;

  /** Takes over an open socket. */
  constructor(socket: WebSocketLike, ports: ConnectionPorts) {
    this.#socket = socket;
    this.#ports = ports;
    this.lost = new Promise((resolve) => (this.#resolveLost = resolve));
    socket.onmessage = (event) => this.#onMessage(event.data);
    socket.onclose = (event) => this.#onClose(event.code, event.reason);
    // An error event is always followed by a close event; Node's `ws` throws if nobody listens.
    socket.onerror = () => {};
  }

  /** Why the connection was lost; `undefined` while it is not. */
  get end(): RoomcastError | undefined {
    return this.#end;
  }

  /**
   * Sends a frame and waits for its reply. Rejects with the server's error, with `timeout`, or with `disconnected`;
   * with `too_large` or `bad_request` if the frame cannot be sent at all.
   */
  async request<T extends ReplyFrame["type"]>(frame: ClientFrame, expects: T, timeoutMs: number): Promise<Reply<T>> {
    if (this.#end !== undefined) throw this.#end;
    const requestId = `r${this.#nextRequest++}`;
    const { text, bytes } = encodeFrame(frame, requestId);
    return new Promise<Reply<T>>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(requestId)?.reject(new RoomcastError("timeout", `no reply to ${frame.action} within ${timeoutMs} ms`));
      }, timeoutMs);
      // The compiler cannot see that `expects` and the reply's type are compared before this is called.
      const accept = resolve as (frame: ReplyFrame) => void;
      this.#pending.set(requestId, { expects, bytes, resolve: accept, reject, timer });
      try {
        this.#socket.send(text);
      } catch (cause) {
        // The socket is closing. Its close event may be long in coming, and nothing can be sent until then.
        this.close(new RoomcastError("disconnected", "the connection is closing", { cause }));
      }
    });
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
   * `error` is what became of a frame sent at `sentAt`. If it is that nothing came in, neither an answer nor anything else, asks
   * for a sign of life, and drops the connection if there is none.
   */
  async check(error: RoomcastError, sentAt: number, timeoutMs: number): Promise<void> {
    if (error.code !== "timeout" || this.#checking || this.lastFrameAt > sentAt) return;
    this.#checking = true;
    const askedAt = now();
    const answer = await this.request({ action: "sync", rooms: {} }, "synced", timeoutMs).catch((failed: RoomcastError) => failed);
    this.#checking = false;
    if (answer instanceof RoomcastError) this.dropIfSilent(answer, askedAt);
  }

  /** Drops the connection if nothing at all has come in since `sentAt`: a half-open one looks like this, and in no other way. */
  dropIfSilent(error: RoomcastError, sentAt: number): boolean {
    if (error.code !== "timeout" || this.lastFrameAt > sentAt) return false;
    // Without waiting for a closing handshake that will not come.
    this.close(new RoomcastError("disconnected", "the connection does not answer", { cause: error }));
    this.#socket.terminate?.();
    return true;
  }

  #onMessage(data: unknown): void {
    if (this.#end !== undefined) return;
    this.lastFrameAt = now();
    const decoded = decodeFrame(data);
    if ("ignored" in decoded) return;
    if ("malformed" in decoded) {
      return this.#ports.error(new RoomcastError("protocol", `the server sent ${decoded.malformed}`));
    }
    const { frame } = decoded;
    if (frame.type === "messages") return this.#ports.broadcast(frame);
    if (frame.type === "error") {
      const error = new RoomcastError(frame.code, frame.message, { retryAfterMs: frame.retryAfterMs });
      const answered = frame.requestId === undefined ? this.#guessRequests(error) : [frame.requestId];
      const requests = answered.map((id) => this.#settle(id)).filter((request) => request !== undefined);
      for (const request of requests) request.reject(error);
      if (requests.length === 0) this.#ports.error(error);
      return;
    }
    const request = this.#settle(frame.requestId);
    if (request === undefined) {
      if (frame.type === "joined") this.#ports.late([frame.roomId]);
      if (frame.type === "synced") this.#ports.late(Object.keys(frame.rooms));
      return;
    }
    if (frame.type === request.expects) return request.resolve(frame);
    request.reject(new RoomcastError("protocol", `expected ${request.expects}, got ${frame.type}`));
  }

  /**
   * API Gateway's own errors do not say which request they answer. When it throttles, it throttles all: every request is made
   * again later. Any other error is that of the only request there is, or nobody's. When the guess is wrong a request is
   * repeated for nothing, hence only for errors that lead to that.
   */
  #guessRequests(error: RoomcastError): string[] {
    if (!error.retryable) return [];
    const pending = [...this.#pending.keys()];
    return error.code === "rate_limited" || pending.length === 1 ? pending : [];
  }

  #onClose(code: number, reason: string): void {
    if (this.#end !== undefined) return;
    if (code === TOO_BIG) this.#rejectLargest();
    const text = reason === "" ? `code ${code}` : `code ${code}, ${reason}`;
    this.#finish(new RoomcastError("disconnected", `the connection was closed (${text})`));
  }

  /** Only the largest frame in flight can be what the server refused; repeating it would cut the next connection too. */
  #rejectLargest(): void {
    let largest: string | undefined;
    for (const [id, { bytes }] of this.#pending) {
      if (largest === undefined || bytes > (this.#pending.get(largest)?.bytes ?? 0)) largest = id;
    }
    this.#settle(largest)?.reject(new RoomcastError("too_large", "the server closed the connection for a frame too large"));
  }

  #finish(reason: RoomcastError): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    for (const requestId of [...this.#pending.keys()]) this.#settle(requestId)?.reject(reason);
    this.#resolveLost(reason);
  }

  #settle(requestId: string | undefined): PendingRequest | undefined {
    if (requestId === undefined) return undefined;
    const request = this.#pending.get(requestId);
    if (request === undefined) return undefined;
    this.#pending.delete(requestId);
    clearTimeout(request.timer);
    return request;
  }
}
