import type { ConnectionState, Roomcast, RoomcastError } from "../index.js";
import { Watched } from "./shared.js";

/** A client's connection at one moment. */
export interface ConnectionSnapshot {
  state: ConnectionState;
  /** The newest error that led to this state, or came in it; `undefined` while the connection is open. */
  error: RoomcastError | undefined;
}

/** The snapshot before there is a connection, and on a server. */
export const DISCONNECTED: ConnectionSnapshot = Object.freeze({ state: "closed", error: undefined });

/** A client's connection, as React reads it. */
export class ConnectionStore {
  readonly #client: Roomcast;
  readonly #watched: Watched;
  #snapshot = DISCONNECTED;
  readonly subscribe: Watched["subscribe"];

  constructor(client: Roomcast) {
    this.#client = client;
    this.#watched = new Watched(() => this.#watch());
    this.subscribe = this.#watched.subscribe;
  }

  readonly snapshot = (): ConnectionSnapshot => {
    const { state } = this.#client;
    // The state may have changed while nobody watched.
    if (state !== this.#snapshot.state) this.#snapshot = { state, error: undefined };
    return this.#snapshot;
  };

  #watch(): () => void {
    const stopState = this.#client.on("state", ({ state, error }) => this.#set({ state, error }));
    const stopError = this.#client.on("error", (error) => {
      const { state } = this.#client;
      if (state !== "open") this.#set({ state, error });
    });
    return () => {
      stopState();
      stopError();
    };
  }

  #set(snapshot: ConnectionSnapshot): void {
    this.#snapshot = snapshot;
    this.#watched.notify();
  }
}

const stores = new WeakMap<Roomcast, ConnectionStore>();

/** The store of a client, always the same. */
export function connectionStore(client: Roomcast): ConnectionStore {
  let store = stores.get(client);
  if (store === undefined) stores.set(client, (store = new ConnectionStore(client)));
  return store;
}
