#!/usr/bin/env bash
# The Go package against the debug library: formatting, vet, its tests under the race detector and under the strictest
# checks of cgo with a collector that never rests, once with the static library, leak warnings; then the example service,
# which `make go-browser` lets browsers meet.
# `make go` builds the library and calls this.
#   GO: path of go.
set -euo pipefail

cd "$(dirname "$0")/../.."
root="$PWD"
target="${CARGO_TARGET_DIR:-$root/target}"
go="${GO:?give the path of go}"
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
tests/go/stage.sh "$target/debug" "$target/go"
export PKG_CONFIG_PATH="$target/go/pkgconfig"
out="$target/go/log"
mkdir -p "$out"

passed=0 failed=0
# check NAME COMMAND...: counts the tests that go test tells of; a step without tests is one.
check() {
  local name="$1" log="$out/step.log" result=ok good bad
  shift
  if ! "$@" >"$log" 2>&1; then result=FAILED; fi
  good=$(grep -cE '^ *--- PASS' "$log" || true)
  bad=$(grep -cE '^ *--- FAIL' "$log" || true)
  if [ "$result" = ok ] && [ "$good" -eq 0 ]; then
    # A run of tests that finds none is no success.
    case " $* " in
    *" -v "* | *linked.sh*) result=FAILED && echo "no test ran" >>"$log" ;;
    *) good=1 ;;
    esac
  fi
  if [ "$result" = FAILED ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad))
  echo "go: $name: $result"
  if [ "$result" = FAILED ]; then grep -vE '^ *--- PASS|^=== ' "$log" | tail -n 60 | sed 's/^/    /'; fi
}
formatted() {
  local wrong
  wrong="$("$(dirname "$go")/gofmt" -l $(git ls-files --cached --others --exclude-standard '*.go' | grep -v /fbs/))"
  [ -z "$wrong" ] || { echo "not formatted: $wrong; run gofmt -w"; return 1; }
}
module() { (cd "$1" && timeout 600 "${@:2}"); }

check "formatting" formatted
check "vet" module bindings-go "$go" vet ./...
check "tests, under the race detector" module bindings-go "$go" test -race -count=1 -v ./...
check "tests, cgo checked on each write, collecting all the time" module bindings-go \
  env GOEXPERIMENT=cgocheck2 GOGC=1 "$go" test -count=1 -v ./...
check "leak warnings" module bindings-go "$go" test -tags libsfu_leaks -count=1 -v -run Leak ./sfu
check "the static library" timeout 600 tests/go/linked.sh "$go" "$target/go"
check "the example service" module examples/go-signaling "$go" vet ./...
check "the example service's tests" module examples/go-signaling "$go" test -race -count=1 -v ./...

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
