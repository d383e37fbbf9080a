// A reporter of node:test that writes what `go test -json` writes, so that
// internal/testenv/cmd/testreport counts these tests as it counts Go's. Each
// suite is a package, whose end the script run reports. What ran against which backend goes to the file that
// GATEWAY_TEST_REPORT names, in the form of package testenv.
import { appendFileSync } from "node:fs";
import { basename } from "node:path";
import { inspect } from "node:util";

const suite = process.env.CONFORMANCE_SUITE ?? "embedded";
const pkg = `github.com/message-gateway/gateway/test/${process.env.CONFORMANCE_FOLDER ?? "conformance"}/${suite}`;
const backends = suite === "embedded" ? ["embedded"] : ["redis+mysql+rabbitmq", "redis", "mysql", "rabbitmq"];

const line = (event) => JSON.stringify({ Package: pkg, ...event }) + "\n";

function note(name) {
  const path = process.env.GATEWAY_TEST_REPORT;
  if (path) appendFileSync(path, backends.map((b) => `${b}\t${name}\t${pkg}\n`).join(""));
}

/** The error as a person wants to see it, without the frames of the runner. */
function describe(error) {
  const cause = error?.cause ?? error;
  return inspect(cause, { colors: false })
    .split("\n")
    .filter((l) => !l.includes("node:internal"))
    .map((l) => `    ${l}\n`)
    .join("");
}

export default async function* report(events) {
  const path = [];
  yield line({ Action: "start" });
  for await (const { type, data } of events) {
    switch (type) {
      case "test:start":
        path.length = data.nesting;
        path[data.nesting] = data.name;
        break;
      case "test:stderr":
      case "test:stdout":
        yield line({ Action: "output", Output: data.message });
        break;
      case "test:pass":
      case "test:fail": {
        const failed = type === "test:fail" && data.todo === undefined;
        const container = data.details?.type === "suite";
        if (container && (!failed || data.details.error?.failureType === "subtestsFailed")) break;
        // A slash would make it a subtest.
        const name = [basename(data.file ?? "", ".test.mjs"), ...path.slice(0, data.nesting), data.name].join(": ").replaceAll("/", "∕");
        const Elapsed = (data.details?.duration_ms ?? 0) / 1000;
        note(name);
        yield line({ Action: "run", Test: name });
        if (failed) {
          yield line({ Action: "output", Test: name, Output: `--- FAIL: ${name} (${Elapsed.toFixed(2)}s) ${basename(data.file ?? "")}:${data.line ?? ""}\n${describe(data.details?.error)}` });
          yield line({ Action: "fail", Test: name, Elapsed });
        } else if (data.skip !== undefined || type === "test:fail") {
          const why = data.skip !== undefined ? data.skip : `known gap: ${data.todo}`;
          yield line({ Action: "output", Test: name, Output: `${why === true ? "no reason given" : why}\n` });
          yield line({ Action: "skip", Test: name, Elapsed });
        } else yield line({ Action: "pass", Test: name, Elapsed });
        break;
      }
    }
  }
}
