import type { Rank } from "./frames.js";

/**
 * Whether `a` takes the place of `b`: by version, then by number. The order is total, so that messages may be applied in any order
 * and repeatedly: v5, one without a version, v3 leave v5 in every one.
 */
export function supersedes(a: Rank, b: Rank): boolean {
  const [newer, older] = [a.version ?? 0, b.version ?? 0];
  return newer === older ? a.seq > b.seq : newer > older;
}
