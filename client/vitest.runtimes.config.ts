import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/runtimes/**/*.test.ts"],
    globalSetup: "test/support/packed.ts",
    testTimeout: 60_000,
  },
});
