/** A connection, as the server sees it. */
export interface Peer {
  readonly sub: string;
  readonly token?: string;
  /** The time at which the connection was opened. */
  readonly openedAt?: number;
  /** Receives a broadcast. */
  deliver(text: string): void;
  /** The server closes the connection. */
  cut?(code?: number): void;
}

/** The answer of a script to a client frame: an error reply, no reply, or (undefined) the normal course. */
export type Script = (
  frame: ClientFields,
  peer: Peer,
) => { code: string; message?: string; retryAfterMs?: number } | "silence" | undefined;

export interface ClientFields {
  action: string;
  requestId?: string;
  roomId?: string;
  [field: string]: unknown;
}
