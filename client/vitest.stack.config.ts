import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/stack/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 30_000,
    // Frames of one test must not slow down those of another: the emulator does one thing at a time.
    fileParallelism: false,
  },
});
