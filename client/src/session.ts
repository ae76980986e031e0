import type { Cancellation } from "./cancellation.js";
import type { Connection, ConnectionPorts } from "./connection.js";
import { Dialer } from "./dial.js";
import { RoomcastError } from "./errors.js";
import type { ClientFrame, Reply, ReplyFrame } from "./frames.js";
import { JoinPace } from "./join-pace.js";
import { type ConnectionState, Lifecycle, type LifecyclePorts, type StateChange } from "./lifecycle.js";
import { Link } from "./link.js";
import { loggable } from "./logger.js";
import { watchNetwork } from "./network.js";
import type { Settings } from "./options.js";
import { Requester } from "./requester.js";
import type { Subscription } from "./subscription.js";
import { Syncer } from "./syncer.js";

export interface SessionPorts {
  changed(change: StateChange): void;
  error(error: RoomcastError): void;
}

/** A room that is to be joined again when the client connects again. */
export interface Suspended {
  resume(): void;
}

/** Wires the parts together: which rooms there are, over which connections, and who gets what comes in. */
export class Session implements LifecyclePorts {
  readonly settings: Settings;
  readonly #ports: SessionPorts;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #suspended = new Set<Suspended>();
  readonly #links = new Set<Link>();
  readonly #dialer: Dialer;
  readonly #pace: JoinPace;
  readonly #lifecycle: Lifecycle;
  readonly #syncer: Syncer;
  readonly #requester: Requester;
  #unwatchNetwork: (() => void) | undefined;

  constructor(settings: Settings, ports: SessionPorts) {
    this.settings = settings;
    this.#ports = ports;
    this.#dialer = new Dialer(settings);
    this.#pace = new JoinPace(settings);
    this.#requester = new Requester(settings);
    this.#syncer = new Syncer(settings, {
      subscriptions: () => this.#subscriptions.values(),
      error: this.error,
    });
    this.#lifecycle = new Lifecycle(settings, this);
  }

  get state(): ConnectionState {
    return this.#lifecycle.state;
  }

  connect(): Promise<void> {
    return this.#lifecycle.connect();
  }

  close(): void {
    this.#lifecycle.close(new RoomcastError("closed", "the client was closed"));
  }

  /** Throws `closed` if the client is not connected and not trying to be. */
  assertOpen(): Cancellation {
    const { cancellation } = this.#lifecycle;
    if (cancellation === undefined) throw new RoomcastError("closed", "the client is closed: call connect() first");
    return cancellation;
  }

  /** See `Requester.request`. */
  async request<T extends ReplyFrame["type"]>(
    frame: ClientFrame,
    expects: T,
    timeoutMs: number,
    cancellation: Cancellation,
  ): Promise<Reply<T>> {
    return this.#requester.request(frame, expects, timeoutMs, cancellation);
  }

  /** Keeps the subscription's room joined, on every connection, until it is removed. */
  add(subscription: Subscription): void {
    this.#subscriptions.set(subscription.roomId, subscription);
    for (const link of this.#links) link.join(subscription);
  }

  /** Resolves when the server has confirmed that the room is left, or when it is somebody else's: joined again meanwhile. */
  async remove(subscription: Subscription): Promise<void> {
    const { roomId } = subscription;
    if (this.#subscriptions.get(roomId) !== subscription) return;
    this.#subscriptions.delete(roomId);
    await Promise.all([...this.#links].map((link) => link.leave(roomId)));
  }

  /** Resumes the room at the next `connect()`. */
  suspend(room: Suspended): void {
    this.#suspended.add(room);
  }

  forget(room: Suspended): void {
    this.#suspended.delete(room);
  }

  /** See `Syncer.due`. */
  due(subscription: Subscription): void {
    this.#syncer.due(subscription);
  }

  changed(change: StateChange): void {
    this.settings.logger.info(`${change.previous} -> ${change.state}`, change.error && loggable(change.error));
    this.#ports.changed(change);
  }

  readonly error = (error: RoomcastError): void => {
    this.settings.logger[error.retryable ? "warn" : "error"](error.message, loggable(error));
    this.#ports.error(error);
  };

  hurry(): boolean {
    return this.#dialer.hurry();
  }

  async caughtUp(): Promise<void> {
    await Promise.all([...this.#subscriptions.values()].map((subscription) => subscription.caughtUp()));
  }

  started(): void {
    const hurry = () => {
      this.#lifecycle.hurry();
      this.#syncer.probe();
    };
    const doubtful = () => this.#syncer.probe();
    this.#unwatchNetwork = watchNetwork(
      { online: hurry, visible: hurry, hidden: () => this.#syncer.replan(), doubtful },
      this.settings.networkTarget,
    );
    const suspended = [...this.#suspended];
    this.#suspended.clear();
    for (const room of suspended) room.resume();
  }

  async dial(cancellation: Cancellation): Promise<Link> {
    // Assigned before anything can come in.
    let link: Link | undefined;
    const stray = (roomId: string) => {
      if (!this.#subscriptions.has(roomId)) link?.leaveStray(roomId);
    };
    const ports: ConnectionPorts = {
      broadcast: (frame) => {
        this.#subscriptions.get(frame.roomId)?.onBroadcast(frame);
        stray(frame.roomId);
      },
      late: (roomIds) => roomIds.forEach(stray),
      error: this.error,
    };
    const connection: Connection = await this.#dialer.dial(ports, cancellation);
    link = new Link(connection, this.settings, this.#pace, {
      error: this.error,
      joined: (subscription) => this.#syncer.due(subscription),
    });
    const opened = link;
    this.settings.logger.debug("connected");
    this.#links.add(opened);
    void connection.lost.then(() => this.#lost(opened));
    // Where messages flow somebody waits for them.
    const rooms = [...this.#subscriptions.values()].sort((a, b) => b.beat.lastFrameAt - a.beat.lastFrameAt);
    for (const room of rooms) link.join(room);
    return link;
  }

  carry(link: Link | undefined): void {
    this.#requester.use(link?.connection);
    this.#syncer.use(link);
  }

  #lost(link: Link): void {
    this.#links.delete(link);
    this.settings.logger.debug("connection ended", link.connection.end && loggable(link.connection.end));
    for (const subscription of this.#subscriptions.values()) {
      // In a hand-over the other connection may have the room.
      const elsewhere = [...this.#links].some((other) => other.hasJoined(subscription));
      if (!elsewhere) subscription.onDisconnected();
    }
  }

  ended(reason: RoomcastError): void {
    this.#unwatchNetwork?.();
    this.#unwatchNetwork = undefined;
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    for (const subscription of subscriptions) subscription.suspend(reason);
  }
}
