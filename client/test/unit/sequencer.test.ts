import { describe, expect, it } from "vitest";
import type { LoggedMessage } from "../../src/frames.js";
import { Sequencer, type Span } from "../../src/sequencer.js";

function message(seq: number): LoggedMessage {
  return { seq, id: `m${seq}`, from: "alice", sentAt: 0, data: seq };
}

/** A broadcast of `seqs`; it covers what lies between, and up to `to`. */
function span(seqs: number[], bounds: { after?: number; to?: number; recovered?: boolean } = {}): Span {
  return {
    after: bounds.after ?? (seqs[0] ?? 1) - 1,
    seq: bounds.to ?? seqs.at(-1) ?? 0,
    messages: seqs.map(message),
    recovered: bounds.recovered ?? false,
  };
}

function at(position: number): Sequencer {
  const sequencer = new Sequencer();
  sequencer.begin(position);
  return sequencer;
}

function take(sequencer: Sequencer): number[] {
  return sequencer.take().map((taken) => taken.message.seq);
}

describe("Sequencer", () => {
  it("takes what follows, once", () => {
    const sequencer = at(10);
    sequencer.offer(span([11, 12]));
    expect(take(sequencer)).toEqual([11, 12]);
    sequencer.offer(span([11, 12]));
    sequencer.offer(span([12]));
    expect(take(sequencer)).toEqual([]);
    expect(sequencer.position).toBe(12);
    expect(sequencer.behind).toBe(false);
  });

  it("holds what comes early and puts it in order", () => {
    const sequencer = at(10);
    sequencer.offer(span([14]));
    sequencer.offer(span([12, 13]));
    expect(take(sequencer)).toEqual([]);
    expect(sequencer.behind).toBe(true);
    expect(sequencer.highest).toBe(14);
    sequencer.offer(span([11]));
    expect(take(sequencer)).toEqual([11, 12, 13, 14]);
    expect(sequencer.behind).toBe(false);
  });

  it("takes only the new part of a frame packed anew", () => {
    const sequencer = at(10);
    sequencer.offer(span([11, 12]));
    take(sequencer);
    sequencer.offer(span([12, 13, 14]));
    expect(take(sequencer)).toEqual([13, 14]);
  });

  it("does not see a gap where a frame says that it covers conflated messages", () => {
    const sequencer = at(10);
    sequencer.offer(span([13], { after: 10, to: 15 }));
    expect(take(sequencer)).toEqual([13]);
    expect(sequencer.position).toBe(15);
    expect(sequencer.behind).toBe(false);
    sequencer.offer(span([16]));
    expect(take(sequencer)).toEqual([16]);
  });

  it("advances over a frame whose messages were all conflated", () => {
    const sequencer = at(10);
    sequencer.offer(span([], { after: 10, to: 12 }));
    expect(take(sequencer)).toEqual([]);
    expect(sequencer.position).toBe(12);
  });

  it("keeps frames that precede the joined reply, and drops what lies before the start", () => {
    const sequencer = new Sequencer();
    sequencer.offer(span([11]));
    sequencer.offer(span([9, 10]));
    expect(take(sequencer)).toEqual([]);
    sequencer.begin(10);
    expect(take(sequencer)).toEqual([11]);
  });

  it("follows a page of the log over a jump that retention left", () => {
    const sequencer = at(10);
    sequencer.offer(span([900, 901], { after: 10, recovered: true }));
    expect(take(sequencer)).toEqual([900, 901]);
  });

  it("keeps what it holds when a page leads over it into a log that was started anew", () => {
    const sequencer = at(10);
    sequencer.offer(span([12, 13]));
    sequencer.offer(span([901, 902]));
    sequencer.offer(span([900, 901], { after: 10, recovered: true }));
    expect(sequencer.take().map(({ message: { seq }, recovered }) => [seq, recovered])).toEqual([
      [12, false],
      [13, false],
      [900, true],
      [901, false],
      [902, false],
    ]);
    expect(sequencer.position).toBe(902);
  });

  it("counts as recovered only what no broadcast brought", () => {
    const sequencer = at(10);
    sequencer.offer(span([12]));
    sequencer.offer(span([11, 12], { recovered: true }));
    expect(sequencer.take().map(({ message: { seq }, recovered }) => [seq, recovered])).toEqual([
      [11, true],
      [12, false],
    ]);
  });

  it("is bounded, and still knows that something is missing", () => {
    const sequencer = at(0);
    for (let seq = 10_000; seq > 2; seq--) sequencer.offer(span([seq]));
    sequencer.offer(span([1, 2]));
    const taken = take(sequencer);
    expect(taken).toEqual([1, 2]);
    expect(sequencer.behind).toBe(true);
    expect(sequencer.highest).toBe(10_000);
  });

  it("takes the frame that is next even when it holds all it may", () => {
    const sequencer = at(0);
    for (let seq = 2; seq < 1_000; seq++) sequencer.offer(span([seq]));
    sequencer.offer(span([1]));
    expect(take(sequencer).length).toBeGreaterThan(200);
  });

  it("remembers that the log was empty until it has moved on", () => {
    const sequencer = at(0);
    expect(sequencer.emptied).toBe(true);
    sequencer.offer(span([500], { after: 0, recovered: true }));
    take(sequencer);
    expect(sequencer.emptied).toBe(false);
    sequencer.emptied = true;
    sequencer.noteHead(500);
    expect(sequencer.emptied).toBe(false);
  });

  it("still drops repetitions after the log was emptied", () => {
    const sequencer = at(10);
    sequencer.emptied = true;
    sequencer.offer(span([9, 10]));
    expect(take(sequencer)).toEqual([]);
    expect(sequencer.behind).toBe(false);
  });

  it("gives up one hole after the other, up to a limit, and keeps what it holds", () => {
    const sequencer = at(10);
    sequencer.offer(span([20]));
    sequencer.offer(span([15]));
    sequencer.offer(span([40]));
    sequencer.noteHead(40);
    expect([sequencer.skipHole(30), ...take(sequencer)]).toEqual([15, 15]);
    expect([sequencer.skipHole(30), ...take(sequencer)]).toEqual([20, 20]);
    expect([sequencer.skipHole(30), ...take(sequencer)]).toEqual([0]);
    expect(sequencer.skipHole(30)).toBeUndefined();
    expect(sequencer.position).toBe(30);
    expect(sequencer.behind).toBe(true);
  });
});
