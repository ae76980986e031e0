import type { WebSocketConstructor, WebSocketLike } from "../../src/index.js";

/** A network that can be switched off: cuts the page's connections and lets no new one through for a while. */
export class Outage {
  readonly #sockets = new Set<WebSocket>();
  #until = 0;
  /** Number of connections that were opened. */
  opened = 0;

  /** The class to give to the client. */
  get WebSocket(): WebSocketConstructor {
    const open = (url: string): WebSocketLike =>
      Date.now() < this.#until ? new Unreachable() : this.#track(new WebSocket(url));
    return new Proxy<WebSocketConstructor>(WebSocket, { construct: (_, [url]: string[]) => open(url as string) });
  }

  start(milliseconds: number): void {
    this.#until = Date.now() + milliseconds;
    for (const socket of this.#sockets) socket.close();
  }

  #track(socket: WebSocket): WebSocket {
    socket.addEventListener("open", () => {
      this.#sockets.add(socket);
      this.opened++;
    });
    socket.addEventListener("close", () => this.#sockets.delete(socket));
    return socket;
  }
}

/** A socket whose handshake fails, as without a network. */
class Unreachable implements WebSocketLike {
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;

  constructor() {
    setTimeout(() => this.onclose?.(new CloseEvent("close", { code: 1006 })), 50);
  }

  send(): void {
    throw new Error("not open");
  }

  close(): void {
    this.onclose = null;
  }
}
