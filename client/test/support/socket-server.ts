import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import { MAX_CLIENT_FRAME_BYTES } from "../../src/limits.js";
import type { Peer } from "./peer.js";
import { ScriptedServer } from "./scripted-server.js";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/**
 * The scripted server on a loopback port, with real WebSockets: `/ws?token=SUB`, refused without a token. Optionally it
 * serves a folder of files too, with the `/config.json` and `/token` that the demo page expects.
 */
export class SocketServer {
  readonly server = new ScriptedServer();
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #connected = new Set<WebSocket>();

  private constructor(folder: string | undefined) {
    this.#http = createServer((request, response) => void this.#serve(request, response, folder));
    this.#http.on("upgrade", (request, socket, head) => {
      const sub = new URL(request.url ?? "/", "http://host").searchParams.get("token") ?? "";
      if (sub === "" || sub === "refused") {
        socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket, sub));
    });
  }

  static async start(folder?: string): Promise<SocketServer> {
    const started = new SocketServer(folder);
    await new Promise<void>((resolve) => started.#http.listen(0, "127.0.0.1", resolve));
    return started;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  get webSocketUrl(): string {
    return `${this.origin.replace("http", "ws")}/ws`;
  }

  get connections(): number {
    return this.#connected.size;
  }

  /** Cuts every connection without a closing handshake. */
  cutAll(): void {
    for (const socket of this.#connected) socket.terminate();
  }

  async stop(): Promise<void> {
    this.cutAll();
    const closed = new Promise((resolve) => this.#http.close(resolve));
    // Browsers open connections in advance, on which no request ever comes.
    this.#http.closeAllConnections();
    await closed;
  }

  #accept(socket: WebSocket, sub: string): void {
    const peer: Peer = { sub, deliver: (text) => socket.send(text) };
    this.#connected.add(socket);
    socket.on("message", (data) => {
      const text = (data as Buffer).toString("utf8");
      // API Gateway closes the connection for a larger frame.
      if (Buffer.byteLength(text) > MAX_CLIENT_FRAME_BYTES) return socket.close(1009);
      const reply = this.server.handle(peer, text);
      if (reply !== undefined) socket.send(reply);
    });
    socket.on("close", () => {
      this.#connected.delete(socket);
      this.server.disconnect(peer);
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse, folder: string | undefined): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://host");
    if (pathname === "/config.json") {
      return json(response, { websocketUrl: this.webSocketUrl, tokenUrl: `${this.origin}/token` });
    }
    if (pathname === "/token" && request.method === "POST") {
      let body = "";
      for await (const chunk of request) body += String(chunk);
      return json(response, { token: (JSON.parse(body) as { sub: string }).sub });
    }
    const file = join(folder ?? "/nonexistent", normalize(pathname === "/" ? "/index.html" : pathname));
    const found = await stat(file).catch(() => undefined);
    if (folder === undefined || !file.startsWith(folder) || found?.isFile() !== true) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  }
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}
