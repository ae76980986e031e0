import { describe, expect, it, vi } from "vitest";
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
    expect(emitter.listening("n")).toBe(false);
  });

  it("removes a listener that was added by once()", () => {
    const emitter = new Emitter<{ n: number }>();
    const heard: number[] = [];
    const listener = (n: number) => void heard.push(n);
    emitter.once("n", listener);
    emitter.off("n", listener);
    emitter.emit("n", 1);
    expect(heard).toEqual([]);
    expect(emitter.listening("n")).toBe(false);
  });

  it("calls a listener that was added twice once, and goes on if one of them was for good", () => {
    const emitter = new Emitter<{ n: number }>();
    const heard: number[] = [];
    const listener = (n: number) => void heard.push(n);
    emitter.on("n", listener);
    emitter.once("n", listener);
    emitter.emit("n", 1);
    emitter.emit("n", 2);
    expect(heard).toEqual([1, 2]);
  });

  it("lets a once() listener fire the same event", () => {
    const emitter = new Emitter<{ n: number }>();
    const heard: number[] = [];
    emitter.once("n", (n) => {
      heard.push(n);
      emitter.emit("n", n + 1);
    });
    emitter.emit("n", 1);
    expect(heard).toEqual([1]);
  });

  it("reports the error of a listener as the platform does", () => {
    const reportError = vi.fn();
    vi.stubGlobal("reportError", reportError);
    const emitter = new Emitter<{ n: number }>();
    const error = new Error("listener");
    emitter.on("n", () => {
      throw error;
    });
    emitter.emit("n", 1);
    expect(reportError).toHaveBeenCalledExactlyOnceWith(error);
    vi.unstubAllGlobals();
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

  it("calls a listener added by once() once, also when another listener makes the event happen again", () => {
    const emitter = new Emitter<{ tick: number }>();
    const calls: number[] = [];
    emitter.on("tick", (n) => {
      if (n === 1) emitter.emit("tick", 2);
    });
    emitter.once("tick", (n) => calls.push(n));
    emitter.emit("tick", 1);
    expect(calls).toHaveLength(1);
  });
});
