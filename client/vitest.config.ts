import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts", "test/package/**/*.test.ts", "test/simulation/**/*.test.ts"],
    testTimeout: 30_000,
  },
});
