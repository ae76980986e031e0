import type { Member, MembersPage, PresenceFrame } from "../../src/frames.js";

/** A member's row: who it is, and what it says. */
export interface MemberRow {
  sub: string;
  data?: unknown;
  /** Larger for a newer row. */
  at: number;
}

/** The list of members that a room has published, as the server keeps it. */
export class RoomMembers {
  rev = 0;
  count = 0;
  /** Every list that was published, for checkers. */
  readonly published: (readonly Member[] | undefined)[] = [[]];
  /** `undefined`: the room is too large for a list. */
  #list: Map<string, Member> | undefined = new Map();

  /** Compares the rows with the list. Returns the frame that tells the difference, if there is one. */
  publish(
    rows: readonly MemberRow[],
    time: number,
    listMax: number,
    frameMax: number,
  ): Omit<PresenceFrame, "type" | "roomId"> | undefined {
    const now = membersOf(rows);
    const before = this.#list;
    const listed = now.size <= (before ? listMax : listMax * 0.8);
    const joined = [...now.values()].filter(
      (member) => JSON.stringify(before?.get(member.id)) !== JSON.stringify(member),
    );
    const left = [...(before?.keys() ?? [])].filter((id) => !now.has(id));
    if (listed && before && joined.length + left.length === 0) return undefined;
    if (!listed && !before && now.size === this.count) return undefined;
    const after = this.rev;
    this.rev = Math.max(after + 1, time);
    this.count = now.size;
    this.#list = listed ? now : undefined;
    this.published.push(listed ? [...now.values()] : undefined);
    const { rev, count } = this;
    if (!listed) return { rev, count };
    return before && joined.length + left.length <= frameMax
      ? { rev, after, count, joined, left }
      : { rev, count, reload: true };
  }

  /**
   * The members in a `joined`, or only their count if there is no list. Oneself is among them, although perhaps not
   * published yet.
   */
  first(size: number, oneself: MemberRow): MembersPage {
    const { rev, count } = this;
    if (!this.#list) return { rev, count: Math.max(count, 1) };
    const own = memberOf(oneself);
    const all = [...new Map(this.#list).set(own.id, own).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const members = all.slice(0, size);
    const next = all.length > size ? members.at(-1)?.id : undefined;
    if (!members.includes(own)) members.push(own);
    return { rev, count: all.length, members, ...(next !== undefined && { next }) };
  }

  /** A page of the list, or of the rows if there is no list. */
  page(after: string, size: number, rows: readonly MemberRow[]): MembersPage & { members: Member[]; listed: boolean } {
    const { rev, count } = this;
    const all = [...(this.#list ?? membersOf(rows)).values()].filter(({ id }) => id > after);
    const members = all.slice(0, size);
    const next = all.length > size ? members.at(-1)?.id : undefined;
    return { rev, count, members, ...(next !== undefined && { next }), listed: this.#list !== undefined };
  }
}

/** Distinct subjects by id, with the data of the newest row. */
export function membersOf(rows: readonly MemberRow[]): Map<string, Member> {
  const newest = [...rows].sort((a, b) => a.at - b.at).map((row): [string, Member] => [row.sub, memberOf(row)]);
  return new Map([...new Map(newest)].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function memberOf({ sub, data }: MemberRow): Member {
  return data === undefined ? { id: sub } : { id: sub, data };
}
