import { setTimeout as wait } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { sendLine } from "../../src/send.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe("sendLine()", () => {
  it("keeps nothing of what it has sent", async () => {
    const add = sendLine();
    const results: WeakRef<object>[] = [];
    const send = () => {
      const result = {};
      results.push(new WeakRef(result));
      return Promise.resolve(result);
    };
    for (let n = 0; n < 10; n++) await add(send, 1_000);
    // A weak reference holds until the turn of the event loop in which it was made is over.
    await wait(1);
    collectGarbage();
    expect(results.filter((result) => result.deref() !== undefined)).toEqual([]);
    // The line itself is still in use.
    expect(await add(() => Promise.resolve("next"), 1_000)).toBe("next");
  });
});
