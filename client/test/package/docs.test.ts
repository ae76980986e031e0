import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { CLEAN, runTsc } from "../support/tsc.js";

const { folder, files } = inject("packed");
const installed = join(folder, "node_modules/roomcast-client");
const pages = files.filter((file) => file.endsWith(".md"));

/** Declarations that snippets take from the application around them. */
const AROUND = `
  import type { Room, Roomcast, TokenProvider } from "roomcast-client";
  declare global {
    const url: string;
    const token: TokenProvider;
    const client: Roomcast;
    const room: Room<{ text: string }>;
    function fetchToken(): Promise<string>;
    function readToken(): string;
    function show(text: string): void;
    function report(error: unknown): void;
  }
`;

/** The TypeScript snippets of a page, with the number of the line before each. */
function snippets(page: string): { line: number; language: string; source: string }[] {
  const text = readFileSync(join(installed, page), "utf8");
  return [...text.matchAll(/^```(tsx?)\n(.*?)^```$/gms)].map(({ 1: language = "", 2: source = "", index }) => ({
    line: text.slice(0, index).split("\n").length,
    language,
    source,
  }));
}

describe("the pages of the package", () => {
  it("have snippets that compile", () => {
    const project = join(folder, "pages");
    mkdirSync(project);
    const names = ["around.d.ts"];
    writeFileSync(join(project, "around.d.ts"), AROUND);
    for (const page of pages) {
      for (const { line, language, source } of snippets(page)) {
        const name = `${page.replace(/\W/g, "-")}-line-${line}.${language}`;
        // Line numbers are those of the page. Each file is a module, so that snippets do not share names.
        writeFileSync(join(project, name), `${"\n".repeat(line)}${source}\nexport {};\n`);
        names.push(name);
      }
    }
    expect(names.length).toBeGreaterThan(20);
    const compilerOptions = {
      noEmit: true,
      strict: true,
      target: "ES2022",
      lib: ["ES2022", "DOM", "DOM.Iterable"],
      module: "NodeNext",
      jsx: "react-jsx",
      skipLibCheck: true,
      types: ["node"],
    };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: names }));
    expect(runTsc(project)).toEqual(CLEAN);
  });

  it("link to files that are there", () => {
    const missing = pages.flatMap((page) => {
      const text = readFileSync(join(installed, page), "utf8");
      const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(({ 1: link = "" }) => link);
      const isMissing = (link: string) => !files.includes(new URL(link, `file:///${page}`).pathname.slice(1));
      return links.filter(isMissing).map((link) => `${page}: ${link}`);
    });
    expect(missing).toEqual([]);
  });
});
