import { MAX_CONNECTION_MS, MAX_IDLE_MS } from "../../../src/limits.js";
import type { WebSocketConstructor, WebSocketLike } from "../../../src/websocket.js";
import type { Task, VirtualTime } from "../virtual-time.js";
import type { Faults } from "./faults.js";
import type { Meter } from "./meter.js";
import type { Call, Observer } from "./observer.js";
import type { ClientFields, Outcome, Session } from "./session.js";
import type { Tokens } from "./tokens.js";

/** Longest time that a client waits for a handshake, and before it dials again. */
const STALL_MS = 10_000;
const RECONNECT_MS = 30_000;
/**
 * Time within which a client must give up a half-open connection: 30 s for a request, and 30 s for the `sync` that
 * follows, at the most.
 */
const FROZEN_MS = 60_000;
/** Time by which a client may take its token to end too early: it counts from the sending of its `joinRoom`. */
const ENDED_MS = 30_000;
const GOING_AWAY = 1001;
const ABNORMAL = 1006;

/** The answer to a post to a connection, or to its deletion. */
type Answer = "taken" | "gone" | "failed";

/** API Gateway: connections, their frames, and what is posted to them. */
export class Gateway {
  readonly sockets = new Map<string, SimulatedSocket>();
  /** Handshakes begun by each client. */
  readonly dials = new Map<string, number>();
  readonly time: VirtualTime;
  readonly faults: Faults;
  readonly tokens: Tokens;
  /** Frames that were refused because of their connection's token, by their action. */
  readonly expired = new Map<string, number>();
  /** Handshakes of each client with a token that had ended. */
  readonly refused = new Map<string, number>();
  readonly #session: Session;
  readonly #meter: Meter;
  readonly #observer: Observer;
  #nextConnection = 1;

  constructor(time: VirtualTime, faults: Faults, session: Session, tokens: Tokens, meter: Meter, observer: Observer) {
    this.time = time;
    this.faults = faults;
    this.#session = session;
    this.tokens = tokens;
    this.#meter = meter;
    this.#observer = observer;
  }

  /** The class to give to clients. The token is the client's name, or one of `tokens`. */
  get WebSocket(): WebSocketConstructor {
    const gateway = this;
    return class extends SimulatedSocket {
      constructor(url: string) {
        super(gateway, url);
      }
    };
  }

  /** Runs `$connect`. */
  dialled(socket: SimulatedSocket): void {
    this.dials.set(socket.client, (this.dials.get(socket.client) ?? 0) + 1);
    this.#observer.dialled(socket.client);
    const usage = this.#meter.of("connect");
    usage.frames++;
    // The authorizer and `session`, which counts the connection among those of its subject.
    usage.invocations += 2;
    usage.tableCalls += 2;
    usage.readUnits += 1;
    usage.writeUnits += 1;
    const fate = this.faults.handshake();
    if (fate === "stalls") {
      this.#observer.note(socket.client, () => "handshake stalls");
      return this.#lost(socket, STALL_MS + RECONNECT_MS);
    }
    const handshakeMs = this.faults.latencyMs() + this.faults.handshakeMs();
    // The client gives up a handshake that takes so long.
    if (handshakeMs >= STALL_MS) this.#lost(socket, STALL_MS + RECONNECT_MS);
    this.time.after(handshakeMs, () => {
      if (socket.readyState !== 0) return;
      const isOver = this.tokens.left(socket.token) <= 0;
      if (isOver) this.refused.set(socket.client, (this.refused.get(socket.client) ?? 0) + 1);
      if (isOver || fate === "is refused") return socket.end(ABNORMAL);
      socket.connection = `c${this.#nextConnection++}`;
      this.sockets.set(socket.connection, socket);
      this.#observer.note(socket.client, () => `${socket.connection} opens`);
      this.time.after(MAX_CONNECTION_MS, () => {
        if (socket.isAlive && this.sockets.has(socket.connection))
          this.#observer.blamed(socket.client, "is cut after 2 hours");
        this.close(socket, GOING_AWAY);
      });
      this.#watchIdle(socket);
      this.time.after(this.faults.latencyMs(), () => socket.opened());
    });
  }

  /** A frame has left a client. */
  sent(socket: SimulatedSocket, text: string): void {
    const frame = JSON.parse(text) as ClientFields;
    const rooms = frame.action === "sync" ? Object.keys(frame["rooms"] as object) : [frame.roomId ?? ""];
    const call = this.#observer.called(socket.client, frame.action, rooms);
    const usage = this.#meter.of(frame.action);
    usage.frames++;
    if (socket.frozen) return this.#watchFrozen(socket);
    const lost = this.faults.losesFrame();
    const durationMs = this.faults.durationMs();
    this.time.after(this.faults.latencyMs() + durationMs, () => {
      // A function that runs when its connection ends runs on.
      if (socket.frozen || this.time.now - socket.closedAt > durationMs) return;
      socket.lastActivity = this.time.now;
      if (lost) return this.#observer.note(socket.client, () => `${frame.action} lost`);
      if (this.faults.throttlesFrame()) return this.#tell(socket, "Too Many Requests");
      if (this.tokens.isOver(socket.token)) return this.#refuse(socket, frame, call);
      const outcome = this.#session.serve(socket.connection, frame, this.tokens.left(socket.token));
      this.#answer(socket, frame, call, outcome);
    });
  }

  /** Posts a frame to a connection. */
  post(connection: string, room: string, text: string): Answer {
    const socket = this.sockets.get(connection);
    if (socket === undefined) return "gone";
    const fails = (what: string) => {
      // A connection that its client has given up no longer matters to it.
      if (socket.readyState === 1) this.#observer.postFailed(socket.client, room);
      this.#observer.note(socket.client, () => `${connection} ${room} ${what}`);
    };
    if (this.#isGone(socket, true)) {
      fails("answers 410");
      return "gone";
    }
    if (this.faults.missesPost()) {
      fails("is given up");
      return "failed";
    }
    if (socket.frozen || this.faults.losesPush()) {
      fails("push lost");
      return "taken";
    }
    socket.receive(text, room);
    if (this.faults.repeatsPush()) socket.receive(text, room);
    return "taken";
  }

  /** DeleteConnection. A connection that answers 410 stays open. */
  deleteConnection(connection: string): Answer {
    const socket = this.sockets.get(connection);
    if (socket === undefined || (this.#isGone(socket, false) && !this.faults.deletesGone())) return "gone";
    this.#observer.note(socket.client, () => `${connection} is deleted`);
    this.close(socket, GOING_AWAY);
    return "taken";
  }

  /** The server's end or the network ends a connection. */
  close(socket: SimulatedSocket, code: number): void {
    if (!this.#forget(socket)) return;
    this.#observer.note(socket.client, () => `${socket.connection} closed with ${code}`);
    if (!socket.frozen) this.time.after(this.faults.latencyMs(), () => socket.end(code));
  }

  /** The client has closed its connection. */
  left(socket: SimulatedSocket): void {
    // The client does not wait to be told that its token has ended.
    if (this.tokens.left(socket.token) <= ENDED_MS) this.#lost(socket, RECONNECT_MS);
    if (!socket.frozen) this.time.after(this.faults.latencyMs(), () => this.#forget(socket));
  }

  /** The client was told that its connection ended, or could not be opened. */
  ended(socket: SimulatedSocket): void {
    this.#lost(socket, RECONNECT_MS);
  }

  pushed(socket: SimulatedSocket, room: string): void {
    this.#observer.pushed(socket.client, room);
  }

  #answer(socket: SimulatedSocket, frame: ClientFields, call: Call, outcome: Outcome): void {
    if (outcome === undefined) {
      this.#observer.note(socket.client, () => `${frame.action} died`);
      if (this.faults.tellsDeath()) this.#tell(socket, "Internal server error");
      return;
    }
    this.#meter.of(frame.action).replies++;
    if (this.faults.losesReply()) return this.#observer.note(socket.client, () => `reply to ${frame.action} lost`);
    const served = outcome["type"] === "synced" ? Object.keys(outcome["rooms"] as object) : [frame.roomId ?? ""];
    const after = outcome["syncAfterMs"] as number | undefined;
    const serves = outcome["type"] !== "error";
    const told = () => {
      if (serves && after !== undefined) call.served(served, after);
    };
    const what = () => (serves ? `${JSON.stringify(outcome["renewed"] ?? "")} ${after}` : String(outcome["code"]));
    this.#observer.note(socket.client, () => `${frame.action} ${served.join()} -> ${what()}`);
    socket.receive(JSON.stringify({ ...outcome, requestId: frame.requestId }), undefined, told);
  }

  /** The token has ended: the answer may overtake the end of the connection, or not. */
  #refuse(socket: SimulatedSocket, frame: ClientFields, call: Call): void {
    this.expired.set(frame.action, (this.expired.get(frame.action) ?? 0) + 1);
    this.#answer(socket, frame, call, {
      type: "error",
      code: "forbidden",
      message: "the token has expired",
      reason: "token_expired",
    });
    this.close(socket, GOING_AWAY);
  }

  /** API Gateway's own answers name no request of the client's. */
  #tell(socket: SimulatedSocket, message: string): void {
    this.#observer.note(socket.client, () => message);
    socket.receive(JSON.stringify({ message, connectionId: socket.connection, requestId: "gateway=" }));
  }

  #isGone(socket: SimulatedSocket, mayBegin: boolean): boolean {
    const { now } = this.time;
    if (socket.goneUntil > now) return true;
    const ms = mayBegin ? this.faults.falseGoneMs() : undefined;
    if (ms === undefined) return false;
    socket.goneUntil = now + ms;
    return true;
  }

  /** Cuts an idle connection. Only the client's frames count: real connections live a little longer. */
  #watchIdle(socket: SimulatedSocket): Task {
    const left = socket.lastActivity + MAX_IDLE_MS - this.time.now;
    return this.time.after(left, () => {
      if (!this.sockets.has(socket.connection)) return;
      if (this.time.now - socket.lastActivity < MAX_IDLE_MS) return void this.#watchIdle(socket);
      if (socket.isAlive) this.#observer.blamed(socket.client, "is cut after 10 minutes without a frame");
      this.close(socket, GOING_AWAY);
    });
  }

  /** A frame was sent on a half-open connection: its client must see that nothing answers. */
  #watchFrozen(socket: SimulatedSocket): void {
    if (socket.isDoubtful) return;
    socket.isDoubtful = true;
    this.time.after(FROZEN_MS, () => {
      if (socket.readyState === 1)
        this.#observer.blamed(socket.client, `keeps ${socket.connection}, which has not answered for a minute`);
    });
  }

  /** Notes that a client has lost a connection. Another one, as in a hand-over, makes up for it. */
  #lost(socket: SimulatedSocket, backWithinMs: number): void {
    const others = [...this.sockets.values()].some(
      (other) => other.client === socket.client && other !== socket && other.isAlive,
    );
    if (!others) this.#observer.ended(socket.client, backWithinMs);
  }

  #forget(socket: SimulatedSocket): boolean {
    if (!this.sockets.delete(socket.connection)) return false;
    socket.closedAt = this.time.now;
    if (!this.faults.losesDisconnect()) {
      this.time.after(this.faults.durationMs(), () => this.#session.disconnected(socket.connection));
    }
    return true;
  }
}

/** A client's end of a connection. */
export class SimulatedSocket implements WebSocketLike {
  onopen: ((event?: unknown) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message?: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readyState = 0;
  /** The connection's id, given by API Gateway. */
  connection = "";
  /** Half-open: nothing comes through any more, and nobody is told. */
  frozen = false;
  /** True if a frame was sent on the connection when it was frozen. */
  isDoubtful = false;
  /** Time until which posts are answered 410, although the connection lives. */
  goneUntil = 0;
  lastActivity: number;
  closedAt = Number.POSITIVE_INFINITY;
  readonly token: string;
  readonly client: string;
  readonly #gateway: Gateway;

  constructor(gateway: Gateway, url: string) {
    this.#gateway = gateway;
    this.token = decodeURIComponent(/[?&]token=([^&]*)/.exec(url)?.[1] ?? "");
    this.client = gateway.tokens.nameOf(this.token);
    this.lastActivity = gateway.time.now;
    gateway.dialled(this);
  }

  get isAlive(): boolean {
    return this.readyState === 1 && !this.frozen;
  }

  opened(): void {
    if (this.readyState !== 0) return;
    this.readyState = 1;
    this.onopen?.();
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error("not open");
    this.#gateway.sent(this, text);
  }

  close(code = 1005): void {
    if (this.readyState >= 2) return;
    this.readyState = 2;
    this.#gateway.left(this);
    if (!this.frozen) this.#gateway.time.after(2 * this.#gateway.faults.latencyMs(), () => this.#finish(code));
  }

  /** A frame is on its way to the client; `told` runs when it is there. */
  receive(text: string, room?: string, told?: () => void): void {
    const gateway = this.#gateway;
    gateway.time.after(gateway.faults.latencyMs(), () => {
      if (this.readyState !== 1 || this.frozen) return;
      told?.();
      if (room !== undefined) gateway.pushed(this, room);
      this.onmessage?.({ data: text });
    });
  }

  /** The connection has ended at the other side. */
  end(code: number): void {
    if (this.readyState === 3 || this.frozen) return;
    if (this.readyState < 2) this.#gateway.ended(this);
    this.#finish(code);
  }

  #finish(code: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    if (code === ABNORMAL) this.onerror?.({ message: "failed" });
    this.onclose?.({ code, reason: "" });
  }
}
