#!/usr/bin/env bash
# The container profile that ships: the engine starts under it, and under the same one without io_uring it says what is
# wrong, as it would in a container with Docker's own profile. `make seccomp` builds the program and calls this.
set -euo pipefail

cd "$(dirname "$0")/../.."
sfu="${SFU_BIN:?give the path of the sfu binary}"
profile=examples/seccomp/libsfu.json
passed=0 failed=0

tell() {
  if [ "$2" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  echo "seccomp: $1: $2"
}

# Doctor makes the checks that a start makes; port 0 keeps it off ports in use.
if report="$(timeout 20 python3 tests/seccomp/confine.py "$profile" -- "$sfu" doctor --rtc-port 0 2>&1)"; then
  tell "the engine is fit under the profile" ok
else
  tell "the engine is fit under the profile" FAILED
  echo "$report"
fi

denied=(python3 tests/seccomp/confine.py "$profile" --without io_uring_setup,io_uring_enter,io_uring_register --)
if report="$(timeout 20 "${denied[@]}" "$sfu" doctor --rtc-port 0 2>&1)"; then
  tell "doctor fails where io_uring is denied" FAILED
  echo "$report"
elif grep -q io_uring <<<"$report" && grep -q seccomp <<<"$report" && ! grep -qi backtrace <<<"$report"; then
  tell "doctor fails where io_uring is denied, and says why" ok
else
  tell "doctor says why where io_uring is denied" FAILED
  echo "$report"
fi

report="$(timeout 20 "${denied[@]}" "$sfu" serve --listen 127.0.0.1:0 --rtc-port 0 2>&1)" && code=0 || code=$?
if [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && grep -q io_uring <<<"$report" && ! grep -qi 'panicked\|backtrace' <<<"$report"; then
  tell "serve refuses where io_uring is denied, without a panic" ok
else
  tell "serve refuses where io_uring is denied, without a panic" FAILED
  echo "status $code"
  echo "$report"
fi

if timeout 20 python3 tests/seccomp/confine.py "$profile" -- unshare --user --map-root-user true 2>/dev/null; then
  tell "the profile keeps new namespaces out" FAILED
else
  tell "the profile keeps new namespaces out" ok
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
