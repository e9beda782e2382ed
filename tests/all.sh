#!/usr/bin/env bash
# Every stage that must pass, in order, each a target of the Makefile. A stage that fails does not stop the others; a
# table and one line with the number of tests close the run. Logs stay in the target folder.
#   tests/all.sh [STAGE...]
set -euo pipefail

cd "$(dirname "$0")/.."
stages=("$@")
if [ "${#stages[@]}" -eq 0 ]; then
  stages=(fmt tidy clippy doc unit generated page-fresh abi native go python seccomp browser go-browser firefox interop fuzz-smoke bench-quick
    deny)
fi
logs="${CARGO_TARGET_DIR:-target}/logs"
mkdir -p "$logs"
make --no-print-directory -s setup-test tools

# Tests that a log tells of: cargo's, node's and pytest's closing lines, and plain ones of our own scripts.
count() {
  awk -v want="$1" '
    { sub(/\x1b\[[0-9;]*m/, "") }
    /^test result: / { n += want == "passed" ? $4 : $6; next }
    /^(#|ℹ) (pass|fail) [0-9]+$/ { if (($2 == "pass") == (want == "passed")) n += $3; next }
    /^[0-9]+ passed, [0-9]+ failed$/ { n += want == "passed" ? $1 : $3; next }
    END { print n + 0 }' "$2"
}

passed=0 failed=0 table=()
for stage in "${stages[@]}"; do
  printf '\n==> %s\n' "$stage"
  log="$logs/$stage.log"
  began=$SECONDS
  if make --no-print-directory -s "$stage" 2>&1 | tee "$log"; then result=ok; else result=FAILED; fi
  good=$(count passed "$log") bad=$(count failed "$log")
  # A stage that counts no tests is one test; one that fails without a failing test is one failure.
  if [ "$result" = ok ] && [ "$((good + bad))" -eq 0 ]; then good=1; fi
  if [ "$result" = FAILED ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad))
  table+=("$(printf '  %-11s %-7s %5ds  %5d passed  %3d failed' "$stage" "$result" "$((SECONDS - began))" "$good" "$bad")")
done

printf '\n==> %d stages in %d minutes\n' "${#stages[@]}" "$((SECONDS / 60))"
printf '%s\n' "${table[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
