// What the tests share: a browser, pages that are watched for whatever they must
// not do, and the example as a process of its own. The gateway comes from the
// conformance tests.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { after } from "node:test";
import { chromium } from "playwright-core";
import { Gateway, suite, within } from "../conformance/harness.mjs";

export { Gateway, Proxy, unique, until } from "../conformance/harness.mjs";

export const patience = 30_000;
const cache = fileURLToPath(new URL("../../.cache/", import.meta.url));
const screenshots = `${cache}screenshots/${suite}/`;
mkdirSync(screenshots, { recursive: true });

// One browser a file; whatever is asked of it that is not on this machine fails.
const launched = chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
launched.catch(() => {}); // the first test that uses it reports it
after(async () => (await launched.catch(() => undefined))?.close());

const loopback = (url) => {
  const { protocol, hostname } = new URL(url);
  return protocol === "data:" || protocol === "blob:" || hostname === "127.0.0.1";
};

/** Tabs are pages of one browser profile; each test has one of its own. */
class Tabs {
  /** Complaints of pages, and what they asked for. */
  complaints = [];
  requests = [];
  #allowed = [];

  constructor(context) {
    this.context = context;
    context.setDefaultTimeout(patience);
  }

  /** A complaint that the test wants. */
  allow(pattern) {
    this.#allowed.push(pattern);
  }

  async open(url) {
    const page = await this.context.newPage();
    page.on("console", (m) => {
      if (m.type() === "error" || m.type() === "warning") this.complaints.push(`${m.type()}: ${m.text()} (${m.location().url})`);
    });
    page.on("pageerror", (error) => this.complaints.push(`exception: ${error.stack}`));
    page.on("dialog", (dialog) => {
      this.complaints.push(`dialog: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    page.on("request", (r) => this.requests.push(r.url()));
    page.on("websocket", (s) => this.requests.push(s.url()));
    await page.goto(url);
    return page;
  }

  /** What no page may do: fail, complain, open dialogs, or ask other machines. */
  verify() {
    const elsewhere = this.requests.filter((url) => !loopback(url));
    if (elsewhere.length > 0) throw new Error(`requests left this machine: ${elsewhere.join(", ")}`);
    const complaints = this.complaints.filter((c) => !this.#allowed.some((pattern) => pattern.test(c)));
    if (complaints.length > 0) throw new Error(`the pages complained:\n${complaints.join("\n")}`);
  }
}

/** The body of a test with tabs; options are those of a Playwright context. */
export function scenario(options, body) {
  return async (t) => {
    const context = await (await launched).newContext(options);
    try {
      const tabs = new Tabs(context);
      await body(tabs, t);
      tabs.verify();
    } catch (error) {
      for (const [i, page] of context.pages().entries()) {
        await page.screenshot({ path: `${screenshots}failed-${t.name.replaceAll(/\W+/g, "-")}-${i}.png`, fullPage: true }).catch(() => {});
      }
      throw error;
    } finally {
      await context.close();
    }
  };
}

export const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
export const desktop = { viewport: { width: 1280, height: 860 } };

export const shot = (page, name) => page.screenshot({ path: `${screenshots}${name}.png`, fullPage: true });

/** Throws if the page is wider than the window, naming what sticks out. */
export async function fits(page) {
  const out = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("body *")]
      .filter((e) => e.getBoundingClientRect().right > width + 1)
      .map((e) => `${e.tagName} ${e.id} ${e.className}`);
  });
  if (out.length > 0) throw new Error(`wider than the window: ${out.join(", ")}`);
}

/** The texts of elements, once accepts says yes to them. */
export async function texts(locator, accepts, what) {
  const end = Date.now() + patience;
  for (;;) {
    const list = await locator.allInnerTexts();
    if (accepts(list)) return list;
    if (Date.now() > end) throw new Error(`${what}: there is ${JSON.stringify(list)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Example is examples/browser as a process, on backends of its own. */
export class Example {
  #process;

  static async start(t) {
    const example = new Example();
    example.gateway = await Gateway.start({ nodes: 0 });
    example.listen = "127.0.0.1:0";
    await example.run();
    t.after(async () => {
      await example.end();
      await example.gateway.close();
    });
    return example;
  }

  async run() {
    const child = spawn(`${cache}example-browser`, ["-listen", this.listen], {
      env: { ...process.env, ...this.gateway.env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    const ready = new Promise((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`the example ended with ${code}`)));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const [, url, address] = /(http:\/\/(127[^/]+))\//.exec(line) ?? [];
        if (url) resolve({ url, address });
      });
    });
    const { url, address } = await within(ready, "start of the example", 60_000);
    this.url = url;
    this.listen = address; // the next one serves the same tabs
  }

  async end(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    await within(ended, "end of the example", 30_000);
  }

  /** The page of a person, connected. */
  async tab(tabs, user) {
    const page = await tabs.open(`${this.url}/?user=${encodeURIComponent(user)}`);
    await page.locator("#state[data-state=online]").waitFor();
    return page;
  }
}

/** A page of the tests' own that has the official client, unmodified, and nothing else. */
export async function barePage(t) {
  const client = await readFile(new URL("../../examples/browser/web/web-pubsub-client.js", import.meta.url));
  const html = `<!DOCTYPE html><title>bare</title><link rel="icon" href="data:,"><script type="module">
    import * as official from "./client.js";
    globalThis.official = official;
  </script>`;
  const server = createServer((request, response) => {
    const script = request.url === "/client.js";
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    response.end(script ? client : html);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}
