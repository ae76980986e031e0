import type { Cancellation } from "./cancellation.js";
import type { Connection } from "./connection.js";
import { Dialer } from "./dial.js";
import { RoomcastError } from "./errors.js";
import type { ClientFrame, MessagesFrame, Reply, ReplyFrame } from "./frames.js";
import { type ConnectionState, Lifecycle, type StateChange } from "./lifecycle.js";
import { Link } from "./link.js";
import { watchNetwork } from "./network.js";
import type { Settings } from "./options.js";
import { Requester } from "./requester.js";
import type { Subscription } from "./subscription.js";
import { Syncer } from "./syncer.js";

export interface SessionPorts {
  changed(change: StateChange): void;
  error(error: RoomcastError): void;
}

/** Wires the parts together: which rooms there are, over which connections, and who gets what comes in. */
export class Session {
  readonly settings: Settings;
  readonly #ports: SessionPorts;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #links = new Set<Link>();
  readonly #dialer: Dialer;
  readonly #lifecycle: Lifecycle;
  readonly #syncer: Syncer;
  readonly #requester: Requester;
  #unwatchNetwork: (() => void) | undefined;

  constructor(settings: Settings, ports: SessionPorts) {
    this.settings = settings;
    this.#ports = ports;
    this.#dialer = new Dialer(settings);
    this.#requester = new Requester(settings, () => this.#syncer.probe());
    this.#syncer = new Syncer(settings, {
      subscriptions: () => this.#subscriptions.values(),
      error: ports.error,
    });
    this.#lifecycle = new Lifecycle(settings, {
      dial: (cancellation) => this.#dial(cancellation),
      carry: (link) => this.#carry(link?.connection),
      caughtUp: async () => {
        await Promise.all([...this.#subscriptions.values()].map((subscription) => subscription.caughtUp()));
      },
      changed: ports.changed,
      error: ports.error,
      ended: (reason) => this.#ended(reason),
    });
  }

  get state(): ConnectionState {
    return this.#lifecycle.state;
  }

  connect(): Promise<void> {
    this.#unwatchNetwork ??= watchNetwork({
      online: () => {
        this.#lifecycle.hurry();
        this.#syncer.probe();
      },
      doubtful: () => this.#syncer.probe(),
    });
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
    cancellation = this.assertOpen(),
  ): Promise<Reply<T>> {
    return this.#requester.request(frame, expects, timeoutMs, cancellation);
  }

  /** Keeps the subscription's room joined, on every connection, until it is removed. */
  add(subscription: Subscription): void {
    this.#subscriptions.set(subscription.roomId, subscription);
    for (const link of this.#links) link.join(subscription);
  }

  /** Resolves when the server has confirmed that the room is left. */
  async remove(subscription: Subscription): Promise<void> {
    const { roomId } = subscription;
    if (this.#subscriptions.get(roomId) === subscription) this.#subscriptions.delete(roomId);
    await Promise.all([...this.#links].map((link) => link.leave(roomId)));
  }

  sync(subscription: Subscription): void {
    this.#syncer.ask(subscription);
  }

  async #dial(cancellation: Cancellation): Promise<Link> {
    const broadcast = (frame: MessagesFrame) => this.#broadcast(frame);
    const connection = await this.#dialer.dial({ broadcast, error: this.#ports.error }, cancellation);
    const link = new Link(connection, this.settings, this.#ports);
    this.#links.add(link);
    void connection.lost.then(() => this.#lost(link));
    for (const subscription of this.#subscriptions.values()) link.join(subscription);
    return link;
  }

  #broadcast(frame: MessagesFrame): void {
    this.#subscriptions.get(frame.roomId)?.onBroadcast(frame);
  }

  #carry(connection: Connection | undefined): void {
    this.#requester.use(connection);
    this.#syncer.use(connection);
  }

  #lost(link: Link): void {
    this.#links.delete(link);
    for (const subscription of this.#subscriptions.values()) {
      // In a hand-over the other connection may have the room.
      const elsewhere = [...this.#links].some((other) => other.hasJoined(subscription.roomId));
      if (!elsewhere) subscription.onDisconnected();
    }
  }

  #ended(reason: RoomcastError): void {
    this.#unwatchNetwork?.();
    this.#unwatchNetwork = undefined;
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    for (const subscription of subscriptions) subscription.fail(reason);
  }
}
