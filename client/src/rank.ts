import type { Rank } from "./frames.js";

/** A number below that of every message. */
export const NEVER = -1;

/**
 * True if `a` takes the place of `b`: the greater version does, then the greater number. The order is total, so
 * messages may be applied in any order and repeatedly: v5, one without a version and v3 leave v5, whichever comes last.
 */
export function supersedes(a: Rank, b: Rank): boolean {
  const [newer, older] = [a.version ?? 0, b.version ?? 0];
  return newer === older ? a.seq > b.seq : newer > older;
}
