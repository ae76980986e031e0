import type { WebSocketConstructor, WebSocketLike } from "../../src/websocket.js";
import type { Peer } from "./peer.js";
import type { ScriptedServer } from "./scripted-server.js";

/** Faults of the network. There are none by default, and 5 ms of latency. */
export interface Weather {
  /** Milliseconds that one frame takes; frames with different latencies overtake each other. */
  latency(): number;
  /** The handshake is refused. */
  refuses(): boolean;
  /** The handshake gets no answer. */
  stalls(): boolean;
  losesBroadcast(): boolean;
  repeatsBroadcast(): boolean;
  losesReply(): boolean;
}

export const CALM: Weather = {
  latency: () => 5,
  refuses: () => false,
  stalls: () => false,
  losesBroadcast: () => false,
  repeatsBroadcast: () => false,
  losesReply: () => false,
};

/** An in-memory network between clients and a scripted server. Everything takes fake time. */
export class FakeNetwork {
  readonly server: ScriptedServer;
  readonly sockets: FakeSocket[] = [];
  weather: Weather = CALM;

  constructor(server: ScriptedServer) {
    this.server = server;
  }

  /** The class to give to a client. The token is the subject, or one that the server has issued. */
  get WebSocket(): WebSocketConstructor {
    const network = this;
    return class extends FakeSocket {
      constructor(url: string) {
        super(network, url);
        network.sockets.push(this);
      }
    };
  }

  /** Connections that are open at both ends. */
  get open(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.readyState === 1 && !socket.dead);
  }

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error("nobody has connected");
    return socket;
  }
}

export class FakeSocket implements WebSocketLike, Peer {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message?: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readyState = 0;
  /** Half-open: nothing comes through any more, and nobody is told. */
  dead = false;
  /** The code with which the client closed it. */
  closedWith: number | undefined;
  readonly url: URL;
  readonly token: string;
  readonly sub: string;
  readonly openedAt = Date.now();
  readonly sent: string[] = [];
  readonly #network: FakeNetwork;

  constructor(network: FakeNetwork, url: string) {
    this.#network = network;
    this.url = new URL(url);
    this.token = this.url.searchParams.get("token") ?? "";
    this.sub = this.token.replace(/~.*/, "");
    const { weather, server } = network;
    if (weather.stalls()) return;
    setTimeout(() => {
      if (this.readyState !== 0) return;
      if (weather.refuses() || server.expiresIn(this.token) <= 0) return this.#end(1006);
      this.readyState = 1;
      this.onopen?.();
    }, weather.latency());
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error("not open");
    this.sent.push(text);
    const { weather, server } = this.#network;
    setTimeout(() => {
      if (this.readyState !== 1 || this.dead) return;
      const reply = server.handle(this, text);
      if (reply !== undefined && !weather.losesReply()) this.inject(reply);
    }, weather.latency());
  }

  deliver(text: string): void {
    const { weather } = this.#network;
    if (weather.losesBroadcast()) return;
    this.inject(text);
    if (weather.repeatsBroadcast()) this.inject(text);
  }

  /** Sends the client a frame. */
  inject(text: string): void {
    setTimeout(() => {
      if (this.readyState === 1 && !this.dead) this.onmessage?.({ data: text });
    }, this.#network.weather.latency());
  }

  close(code?: number): void {
    if (this.readyState >= 2) return;
    this.closedWith = code ?? 1005;
    this.readyState = 2;
    if (!this.dead) setTimeout(() => this.#end(this.closedWith ?? 1005), this.#network.weather.latency());
  }

  /** The server or the network ends the connection. `known` is false when `$disconnect` is not delivered. */
  cut(code = 1006, known = true): void {
    if (this.readyState === 3) return;
    this.#end(code, known);
  }

  /** The connection dies without a word. */
  freeze(known = true): void {
    this.dead = true;
    if (known) this.#network.server.disconnect(this);
  }

  #end(code: number, known = true): void {
    this.readyState = 3;
    if (known) this.#network.server.disconnect(this);
    if (code === 1006) this.onerror?.({ message: "failed" });
    this.onclose?.({ code, reason: "" });
  }
}
