#!/usr/bin/env bash
# The tests of threads at the C ABI under ThreadSanitizer, without the sources of the standard library: edges.c tells what its
# compiled code does not. `make tsan` calls this; everything is built once more.
set -euo pipefail

cd "$(dirname "$0")/../.."
root="$PWD"
target="${CARGO_TARGET_DIR:-$root/target}"
out="$target/tsan"
mkdir -p "$out"
host="$(rustc -vV | sed -n 's/^host: //p')"
std="$(compgen -G "$(rustc --print sysroot)/lib/rustlib/$host/lib/libstd-*.so")"

# symbol END: the mangled name of a function of the standard library; its hash differs from one compiler to the next.
symbols="$(nm -D --defined-only "$std" | awk '{ print $3 }' | sort -u)"
symbol() {
  local found
  found="$(grep -E "std3sys4sync.*$1\$" <<<"$symbols" || true)"
  [ -n "$found" ] && [ "$(wc -l <<<"$found")" -eq 1 ] || { echo "tsan: the standard library has no one function $1" >&2; return 1; }
  echo "$found"
}
names=() wraps=()
while read -r macro end; do
  name="$(symbol "$end")" || exit 1
  names+=("-D$macro=$name")
  wraps+=("-Clink-arg=-Wl,--wrap=$name")
done <<'END'
MUTEX_LOCK 5Mutex14lock_contended
RWLOCK_READ 6RwLock14read_contended
RWLOCK_WRITE 6RwLock15write_contended
CONDVAR_WAIT 7Condvar4wait
CONDVAR_WAIT_TIMEOUT 7Condvar12wait_timeout
ONCE_CALL 4once5futexN.*4Once4call
END
cc -O1 -Wall -Wextra -Werror "${names[@]}" -c tests/tsan/edges.c -o "$out/edges.o"

export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$out"
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
# build PACKAGE WHAT...: prints the path of a test program.
build() {
  cargo rustc --locked -q --target "$host" -p "$1" "${@:2}" --profile test --message-format json -- \
    "-Clink-arg=$out/edges.o" "${wraps[@]}" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}
abi="$(build libsfu --lib)"
runtime="$(build sfu-runtime --lib)"

passed=0 failed=0
# step NAME EXPECTED PROGRAM...: its exit code tells whether there was a warning.
step() {
  local name="$1" expected="$2" code=0
  shift 2
  TSAN_OPTIONS="exitcode=66 halt_on_error=0 suppressions=$root/tests/tsan/suppressions.txt" timeout 600 "$@" >"$out/step.log" 2>&1 || code=$?
  if [ "$code" -eq "$expected" ]; then
    passed=$((passed + 1))
    echo "tsan: $name: ok"
  else
    failed=$((failed + 1))
    echo "tsan: $name: FAILED ($code)"
    # What the others say in short, one in full.
    grep -h '^SUMMARY' "$out/step.log" | sort | uniq -c | sort -rn | sed 's/^/    /' | head -n 40
    sed -n '/^WARNING/,/^SUMMARY/{p;/^SUMMARY/q}' "$out/step.log" | sed 's/^/    /' | head -n 120
  fi
}
# The tool must be seen to find a mistake before its silence means anything.
rustc $RUSTFLAGS --edition 2024 tests/tsan/canary.rs -C "link-arg=$out/edges.o" $(printf -- '-C%s ' "${wraps[@]#-C}") -o "$out/canary"
step "a planted race is found" 66 "$out/canary" race
step "what locks, conditions and cells order is no race" 0 "$out/canary"
for row in row_073 row_074 row_077; do
  step "$row at the C ABI" 0 "$abi" --test-threads=1 "$row"
done
step "mailboxes, rings between shards and their wake-ups" 0 "$runtime" --test-threads=1

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
