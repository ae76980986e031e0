import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "library",
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          // Minutes of computing, more where others compute too.
          testTimeout: 1_800_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["test/package/**/*.test.ts"],
          // Packs the package, once, where there is such a test to run.
          globalSetup: "test/support/packed.ts",
          testTimeout: 60_000,
        },
      },
    ],
  },
});
