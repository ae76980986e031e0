import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { type Message, type Room, Roomcast, type RoomcastOptions } from "../../src/index.js";

const STACK = process.env["ROOMCAST_STACK_JSON"];
const SECRET = process.env["ROOMCAST_JWT_SECRET_FILE"];

/** The reason why the tests cannot run; `undefined` if they can. */
export const missing =
  STACK === undefined || SECRET === undefined
    ? "set ROOMCAST_STACK_JSON to the stack.json of a running stack, and ROOMCAST_JWT_SECRET_FILE to the file with its secret"
    : undefined;

/** A token as the stack's authorizer accepts it. */
function tokenFor(sub: string, seconds = 3_600): string {
  const now = Math.floor(Date.now() / 1_000);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const rooms = { "*": ["join", "send", "history", "state"] };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, iat: now, exp: now + seconds, rooms })}`;
  const secret = readFileSync(SECRET ?? "", "utf8").trim();
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

function webSocketUrl(): string {
  return (JSON.parse(readFileSync(STACK ?? "", "utf8")) as { websocketUrl: string }).websocketUrl;
}

/** A client whose connections a test can cut. */
export class Participant {
  readonly client: Roomcast;
  readonly errors: string[] = [];
  readonly sockets: WebSocket[] = [];
  /** While true, no connection gets through. */
  unplugged = false;

  constructor(sub: string, options: Partial<RoomcastOptions> = {}) {
    const { sockets } = this;
    const isUnplugged = () => this.unplugged;
    class Tracked extends WebSocket {
      constructor(url: string) {
        // Nothing listens on port 9 of loopback.
        super(isUnplugged() ? "ws://127.0.0.1:9" : url);
        sockets.push(this);
      }
    }
    this.client = new Roomcast({
      url: webSocketUrl(),
      token: () => tokenFor(sub),
      WebSocket: Tracked,
      reconnect: { base: 100, cap: 1_000 },
      ...options,
    });
    this.client.on("error", ({ code }) => this.errors.push(code));
  }

  /** Cuts the connection as a network does, without a closing handshake. */
  cut(): void {
    for (const socket of this.sockets) socket.terminate();
  }
}

/** Messages of a room's listeners, as a growing list. */
export function collect(room: Room): Message[] {
  const seen: Message[] = [];
  room.on("message", (message) => seen.push(message));
  return seen;
}

/** The room's log after `seq`, read page by page. */
export async function logAfter(room: Room, seq: number): Promise<Message[]> {
  const log: Message[] = [];
  for (let before: number | undefined; ; ) {
    const { messages, more } = await room.history({ limit: 100, ...(before !== undefined && { before }) });
    log.unshift(...messages.filter((message) => message.seq > seq));
    before = messages[0]?.seq;
    if (!more || before === undefined || before <= seq) return log;
  }
}

/** The fields of messages that are compared between two sides. */
export function essence(messages: readonly Message[]): object[] {
  return messages.map(({ seq, id, from, data }) => ({ seq, id, from, data }));
}
