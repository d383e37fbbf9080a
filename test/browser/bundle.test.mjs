// The committed file of the official client is what its pinned packages make.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile, cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "node:test";

const run = promisify(execFile);
const folder = fileURLToPath(new URL("../../examples/browser/", import.meta.url));

test("the bundle is what its sources make, and a change of it is noticed", async (t) => {
  const copy = await mkdtemp(join(tmpdir(), "gateway-bundle-"));
  t.after(() => rm(copy, { recursive: true }));
  await cp(folder, copy, { recursive: true, filter: (path) => !path.includes("node_modules") });
  await run(join(copy, "bundle/build"), ["--check"]);

  const file = join(copy, "web/web-pubsub-client.js");
  await writeFile(file, `${await readFile(file, "utf8")}\n`);
  await assert.rejects(run(join(copy, "bundle/build"), ["--check"]), /web-pubsub-client.js is not what its sources make/);
  await run(join(copy, "bundle/build"));
  assert.equal(await readFile(file, "utf8"), await readFile(join(folder, "web/web-pubsub-client.js"), "utf8"));
});
