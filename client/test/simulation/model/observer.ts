/** Events of a run for somebody who looks. Clients are named by their tokens. */
export interface Observer {
  /** A client has begun a handshake. */
  dialled(client: string): void;
  /**
   * A client's only connection ended, or its handshake came to nothing, and the client did not ask for it. It dials
   * again within so many milliseconds.
   */
  ended(client: string, backWithinMs: number): void;
  /** A client has done what it must not. */
  blamed(client: string, what: string): void;
  /** A client has sent a frame that names rooms. */
  called(client: string, action: string, rooms: readonly string[]): Call;
  /** A client was given a broadcast of a room. */
  pushed(client: string, room: string): void;
  /** A post to a living connection was made and will not arrive: it is lost, given up, or answered 410. */
  postFailed(client: string, room: string): void;
  /** A broadcast of a room begins. */
  broadcast(room: string): void;
  /** Anything worth a line in a timeline. */
  note(client: string, text: () => string): void;
}

/** A frame under way. */
export interface Call {
  /** The client got an answer that serves these rooms; `syncAfterMs` is the wait in it. */
  served(rooms: readonly string[], syncAfterMs: number): void;
}
