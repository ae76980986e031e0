import { type Cancellation, unlessCancelled } from "./cancellation.js";
import { RoomcastError } from "./errors.js";
import { deferred } from "./timing.js";

/** The part of the WebSocket interface that the library uses. Browsers, Node >= 22 and the `ws` package have it. */
export interface WebSocketLike {
  // biome-ignore-start lint/suspicious/noExplicitAny: every implementation has event classes of its own.
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  // biome-ignore-end lint/suspicious/noExplicitAny: as above.
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Node's `ws`: closes without the closing handshake. */
  terminate?(): void;
}

/** A WebSocket class. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** The global WebSocket, or an error that says what to do. */
export function globalWebSocket(): WebSocketConstructor {
  const found = (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
  if (found) return found;
  throw new RoomcastError("bad_request", "no WebSocket: pass that of the ws package");
}

/** Opens a socket. Resolves when it is open. Rejects with `connect_failed`, or with the reason when it is cancelled. */
export async function openSocket(
  WebSocket: WebSocketConstructor,
  url: string,
  cancellation: Cancellation,
): Promise<WebSocketLike> {
  cancellation.throwIfCancelled();
  let socket: WebSocketLike;
  try {
    socket = new WebSocket(url);
  } catch (cause) {
    // The cause is no failure of the network, but a bad URL, or a page loaded by https that may not open ws.
    throw new RoomcastError("connect_failed", "the WebSocket could not be created", { cause, retryable: false });
  }
  const opened = deferred<WebSocketLike>();
  let cause: unknown;
  socket.onopen = () => opened.resolve(socket);
  // The listener stays to the end: Node's `ws` emits an error when it is closed while connecting, and throws if nobody
  // listens.
  socket.onerror = (event: { message?: string; error?: unknown } | undefined) => {
    cause = event?.error ?? event?.message;
  };
  socket.onclose = (event: { code: number }) => {
    // Some implementations quote the address, with the token in it.
    const detail = cause instanceof Error ? `, ${cause.message.replace(/token=[^&\s'"]+/g, "token=...")}` : "";
    opened.reject(
      new RoomcastError("connect_failed", `the WebSocket could not be opened (code ${event.code}${detail})`, { cause }),
    );
  };
  try {
    return await unlessCancelled(opened.promise, cancellation);
  } catch (error) {
    if (cancellation.reason) socket.close();
    throw error;
  }
}
