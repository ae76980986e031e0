import { describe, expect, it } from "vitest";
import { Emitter } from "../../src/emitter.js";

describe("Emitter", () => {
  it("calls listeners in order until they are removed", () => {
    const emitter = new Emitter<{ n: number }>();
    const heard: string[] = [];
    const stop = emitter.on("n", (n) => heard.push(`a${n}`));
    const listener = (n: number) => void heard.push(`b${n}`);
    emitter.on("n", listener);
    emitter.once("n", (n) => heard.push(`c${n}`));
    emitter.emit("n", 1);
    stop();
    emitter.emit("n", 2);
    emitter.off("n", listener);
    emitter.emit("n", 3);
    expect(heard).toEqual(["a1", "b1", "c1", "b2"]);
    expect(emitter.has("n")).toBe(false);
  });

  it("lets no listener disturb the others, and hides no error", async () => {
    const emitter = new Emitter<{ n: number }>();
    const heard: number[] = [];
    // Vitest's own handlers would fail the run.
    const handlers = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const uncaught = new Promise((resolve) => process.once("uncaughtException", resolve));
    emitter.on("n", () => {
      throw new Error("listener");
    });
    emitter.on("n", (n) => heard.push(n));
    emitter.emit("n", 1);
    expect(heard).toEqual([1]);
    expect(await uncaught).toMatchObject({ message: "listener" });
    for (const handler of handlers) process.on("uncaughtException", handler);
  });
});
