# What the suites of tests in Node.js share: test/conformance/run and
# test/browser/run source this, with $cache set.

# Of Debian's own Node.js some releases are too old: then one from npm is used.
node_version=20.19.5
tools() {
  if ! command -v npm >/dev/null; then
    echo "installing nodejs and npm" >&2
    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install nodejs npm
  fi >&2
  local major
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
  if ((major < 20)); then
    local arch=x64
    [[ $(uname -m) == aarch64 ]] && arch=arm64
    npm install --no-audit --no-fund --no-save --prefix "$cache/node" "node-linux-$arch@$node_version" >&2
    PATH=$cache/node/node_modules/node-linux-$arch/bin:$PATH
  fi
}

# packages DIR installs what DIR/package-lock.json names, if that changed. The
# official packages say that they want Node.js 22; they work on 20.
packages() {
  local stamp=$1/node_modules/.installed
  if [[ ! -f $stamp ]] || ! cmp -s "$1/package-lock.json" "$stamp"; then
    (cd "$1" && npm ci --no-audit --no-fund --prefer-offline --ignore-scripts --loglevel=error >&2)
    cp "$1/package-lock.json" "$stamp"
  fi
}

# suites are those that this environment can run.
suites() {
  if [[ -n ${CONFORMANCE_SUITES-} ]]; then
    echo "$CONFORMANCE_SUITES"
  elif [[ -n ${GATEWAY_TEST_REDIS-} && -n ${GATEWAY_TEST_MYSQL-} && -n ${GATEWAY_TEST_RABBITMQ-} ]]; then
    echo "embedded real cluster"
  elif [[ ${GATEWAY_TEST_REQUIRE-} == 1 ]]; then
    echo "GATEWAY_TEST_REQUIRE=1, but GATEWAY_TEST_REDIS, _MYSQL or _RABBITMQ is not set" >&2
    return 1
  else
    echo "NOT RUN: the suites real and cluster need GATEWAY_TEST_REDIS, _MYSQL and _RABBITMQ (use \`make test\`)" >&2
    echo "embedded"
  fi
}

# required are the backends that a run of all files must have tested.
required() {
  local list=""
  [[ $CONFORMANCE_SUITES == *embedded* ]] && list=embedded
  [[ $CONFORMANCE_SUITES == *real*cluster* ]] && list+=${list:+,}redis+mysql+rabbitmq
  echo "$list"
}

# run_suites FOLDER CHOOSE SECONDS FILE… runs the files of each suite for which
# CHOOSE SUITE FILE succeeds, and writes the events that testreport reads.
run_suites() {
  local folder=$1 choose=$2 seconds=$3 code=0 suite file files began result
  shift 3
  for suite in $CONFORMANCE_SUITES; do
    files=()
    for file in "${@/%/.test.mjs}"; do
      if "$choose" "$suite" "$file"; then files+=("$file"); fi
    done
    ((${#files[@]} > 0)) || continue
    began=$SECONDS result=pass
    # --test-force-exit: a client that was stopped while it recovers goes on
    # trying for ever.
    CONFORMANCE_FOLDER=$folder CONFORMANCE_SUITE=$suite CONFORMANCE_SERVER=$cache/conformance-server \
      timeout --foreground --kill-after=10 "$seconds" \
      node --test --test-force-exit --test-concurrency=2 --test-timeout=$(((seconds - 30) * 1000)) \
      --test-reporter="$root/test/conformance/reporter.mjs" --test-reporter-destination=stdout "${files[@]}" || code=1 result=fail
    printf '{"Action":"%s","Package":"%s/%s","Elapsed":%d}\n' "$result" \
      "github.com/message-gateway/gateway/test/$folder" "$suite" $((SECONDS - began))
  done
  return $code
}

# run_again FOLDER CHOOSE SECONDS PACKAGE TEST… runs the files of these tests once
# more, in the suite that the package stands for.
run_again() {
  local folder=$1 choose=$2 seconds=$3 test files=()
  CONFORMANCE_SUITES=${4##*/}
  shift 4
  for test in "$@"; do files+=("${test%%: *}"); done
  mapfile -t files < <(printf '%s\n' "${files[@]}" | sort -u)
  run_suites "$folder" "$choose" "$seconds" "${files[@]}"
}
