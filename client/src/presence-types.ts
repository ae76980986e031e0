import type { CallOptions } from "./abort.js";
import type { Member } from "./frames.js";

export interface PresenceEvents {
  /** A member who came, with the first of their connections. */
  joined: Member;
  /** A member who went, with the last of their connections. */
  left: Member;
  /** A member whose data has changed. */
  updated: Member & { readonly previous: unknown };
  count: { count: number; previous: number };
  /**
   * The list, when it is first there, or when the room has become small enough for one. Empty when the room has become
   * too large.
   */
  snapshot: readonly Member[];
}

export interface PageOptions extends CallOptions {
  /** The last member of the page before. */
  after?: string;
  /** Largest number of members, up to 500. Default 100. */
  limit?: number;
}

/** A page of the members that are in the room now, in the order of their ids. */
export interface PresencePage {
  members: readonly Member[];
  count: number;
  /** The `after` of the next page; `undefined` if there is none. */
  next: string | undefined;
}
