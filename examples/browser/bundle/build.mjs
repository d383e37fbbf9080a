// Makes ../web/web-pubsub-client.js, the official client in one file, from the
// packages that package-lock.json names, and the licences of what is in it.
// With --check it writes nothing, and fails if what is committed differs.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, version } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const client = "@azure/web-pubsub-client";

const { outputFiles, metafile } = await build({
  stdin: { contents: `export * from "${client}";`, resolveDir: here },
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none", // the licences are in a file of their own
  metafile: true,
  write: false,
});

// The packages that something was taken from.
const packages = new Set();
for (const { inputs } of Object.values(metafile.outputs)) {
  for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
    const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file) ?? [];
    if (name && bytesInOutput > 0) packages.add(name);
  }
}

const described = [...packages].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = ["LICENSE", "LICENSE.txt", "LICENSE.md"].map((f) => join(folder, f)).find((f) => existsSync(f));
  if (!file) throw new Error(`${name} has no licence file`);
  const licence = readFileSync(file, "utf8").replaceAll("\r\n", "\n").replace(/[ \t]+$/gm, "").trim();
  return { title: `${name} ${about.version} (${about.license})`, licence };
});
const clientVersion = JSON.parse(readFileSync(join(here, "node_modules", client, "package.json"), "utf8")).version;

const results = {
  "web-pubsub-client.js":
    `// ${client} ${clientVersion} and what it imports, made by examples/browser/bundle/build with esbuild ${version}.\n` +
    `// Licences: web-pubsub-client.LICENSES.txt. Do not edit.\n` +
    outputFiles[0].text,
  "web-pubsub-client.LICENSES.txt":
    "web-pubsub-client.js holds parts of these packages.\n" +
    described.map(({ title, licence }) => `\n${"-".repeat(72)}\n${title}\n\n${licence}\n`).join(""),
};

let stale = false;
for (const [name, content] of Object.entries(results)) {
  const file = join(here, "../web", name);
  if (!process.argv.includes("--check")) writeFileSync(file, content);
  else if (!existsSync(file) || readFileSync(file, "utf8") !== content) {
    console.error(`examples/browser/web/${name} is not what its sources make: run examples/browser/bundle/build`);
    stale = true;
  }
}
process.exitCode = stale ? 1 : 0;
