import type { Cancellation } from "./cancellation.js";
import type { ClientEvents } from "./client.js";
import type { ConnectionPorts } from "./connection.js";
import { Dialer } from "./dial.js";
import type { Emitter } from "./emitter.js";
import { RoomcastError } from "./errors.js";
import { JoinPace } from "./join-pace.js";
import { Lifecycle, type StateChange } from "./lifecycle.js";
import { Link } from "./link.js";
import { log } from "./logger.js";
import { watchNetwork } from "./network.js";
import type { Settings } from "./options.js";
import { Requester } from "./requester.js";
import type { Subscription } from "./subscription.js";
import { Syncer } from "./syncer.js";
import { now } from "./timing.js";

/**
 * The parts wired together: the client's rooms, its connections, and the way of a frame from a connection to its room.
 */
export class Session extends Lifecycle {
  readonly requester: Requester;
  readonly syncer: Syncer;
  readonly subscriptions = new Map<string, Subscription>();
  /** Functions that bring back the rooms to be joined again when the client connects again. */
  readonly suspended = new Map<object, () => void>();
  readonly #events: Emitter<ClientEvents>;
  readonly #links = new Set<Link>();
  readonly #dialer: Dialer;
  readonly #pace: JoinPace;
  /** Lead of the server's clock over `now()`. The device's clock counts until the server has told its own. */
  #clockOffset = Date.now() - now();
  #unwatchNetwork: (() => void) | undefined;

  constructor(settings: Settings, events: Emitter<ClientEvents>) {
    super(settings);
    this.#events = events;
    this.#dialer = new Dialer(settings);
    this.#pace = new JoinPace(settings);
    this.requester = new Requester(settings);
    this.syncer = new Syncer(settings, this);
  }

  /** Throws `closed` if the client is not connected and not trying to be. */
  assertOpen(): Cancellation {
    const { cancellation } = this;
    if (!cancellation) throw new RoomcastError("closed", "the client is closed");
    return cancellation;
  }

  /** Keeps the subscription's room joined, on every connection, until it is removed. */
  add(subscription: Subscription): void {
    this.subscriptions.set(subscription.roomId, subscription);
    for (const link of this.#links) link.join(subscription);
  }

  /** Joins the subscription's room once more, on every connection, because its extras have changed. */
  rejoin(subscription: Subscription): void {
    for (const link of this.#links) link.rejoin(subscription);
  }

  /** The server's clock, in Unix milliseconds. */
  serverNow(): number {
    return now() + this.#clockOffset;
  }

  /**
   * Leaves the subscription's room. Resolves when the server has confirmed it, or when the room was joined again
   * meanwhile.
   */
  async remove(subscription: Subscription): Promise<void> {
    const { roomId } = subscription;
    if (this.subscriptions.get(roomId) !== subscription) return;
    this.subscriptions.delete(roomId);
    await Promise.all([...this.#links].map((link) => link.leave(roomId)));
  }

  changed(change: StateChange): void {
    log(this.settings.logger, "info", `${change.previous} -> ${change.state}`, { error: change.error });
    this.#events.emit("state", change);
  }

  error(error: RoomcastError): void {
    log(this.settings.logger, error.retryable ? "warn" : "error", error.message, { error });
    this.#events.emit("error", error);
  }

  giveUpDial(): boolean {
    return this.#dialer.hurry();
  }

  caughtUp(): Promise<unknown> {
    return Promise.all([...this.subscriptions.values()].map((subscription) => subscription.caughtUp()));
  }

  started(): void {
    const doubtful = () => this.syncer.probe();
    const back = () => {
      this.hurry();
      doubtful();
    };
    this.#unwatchNetwork = watchNetwork(
      { back, hidden: () => this.syncer.replan(), doubtful },
      this.settings.networkTarget,
    );
    // A listener may have joined or left some of these rooms meanwhile, or closed the client.
    for (const [room, resume] of [...this.suspended]) if (this.cancellation && this.suspended.delete(room)) resume();
  }

  async dial(cancellation: Cancellation): Promise<Link> {
    const { logger } = this.settings;
    const stray = (roomId: string) => {
      if (!this.subscriptions.has(roomId)) link.leaveStray(roomId);
    };
    const ports: ConnectionPorts = {
      broadcast: (frame) => {
        this.subscriptions.get(frame.roomId)?.onBroadcast(frame);
        stray(frame.roomId);
      },
      clock: (time) => {
        this.#clockOffset = time - now();
      },
      late: (roomId, left) => {
        if (!left) return stray(roomId);
        // The room may have been joined again meanwhile.
        this.subscriptions.get(roomId)?.beat.confirm(now());
        this.syncer.replan();
      },
      error: (error) => this.error(error),
    };
    const connection = await this.#dialer.dial(ports, cancellation);
    // No frame can have come in before this line.
    const link = new Link(connection, this.settings, this.#pace, this);
    log(logger, "debug", "connected");
    this.#links.add(link);
    void connection.lost.then((reason) => {
      this.#links.delete(link);
      log(logger, "debug", "disconnected", { error: reason });
      for (const room of this.subscriptions.values()) {
        // In a hand-over the other connection may have the room.
        if (![...this.#links].some((other) => other.hasJoined(room))) room.onDisconnected();
      }
    });
    // Rooms with messages come first, because somebody waits for them.
    const rooms = [...this.subscriptions.values()].sort((a, b) => b.beat.lastFrameAt - a.beat.lastFrameAt);
    for (const room of rooms) link.join(room);
    return link;
  }

  carry(link: Link | undefined): void {
    this.requester.use(link?.connection);
    this.syncer.use(link);
  }

  ended(reason: RoomcastError): void {
    this.#unwatchNetwork?.();
    const subscriptions = [...this.subscriptions.values()];
    this.subscriptions.clear();
    for (const subscription of subscriptions) subscription.end(reason, true);
  }
}
