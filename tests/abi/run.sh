#!/usr/bin/env bash
# The C ABI as C and C++ programs meet it: symbols, soname, the header alone, its worked example, and two programs
# plain, under AddressSanitizer and under valgrind. `make abi` builds the library and calls this.
set -euo pipefail

cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
venv="${VENV:-$target/tools/venv}"
out="$target/abi"
rm -rf "$out"
mkdir -p "$out/requests"

passed=0 failed=0
# check NAME COMMAND...: runs it, and shows what it said only when it fails.
check() {
  local name="$1"
  shift
  if "$@" >"$out/step.log" 2>&1; then
    passed=$((passed + 1))
    echo "abi: $name: ok"
  else
    failed=$((failed + 1))
    echo "abi: $name: FAILED"
    sed 's/^/    /' "$out/step.log" | tail -n 60
  fi
}
# step NAME PROGRAM...: the same for a program that might hang, which is a failure and not a wait.
step() { check "$1" timeout 180 "${@:2}"; }
# fails COMMAND...: succeeds when the command does not.
fails() { if "$@"; then return 1; fi; }

# The library under its soname, as an installation would have it.
cp "$target/debug/libsfu.so" "$out/libsfu.so.0"
ln -sf libsfu.so.0 "$out/libsfu.so"
cp "$target/debug/libsfu.a" "$out/libsfu.a"
export LD_LIBRARY_PATH="$out"

soname() { readelf -d "$out/libsfu.so.0" | grep -q 'SONAME.*\[libsfu.so.0\]'; }
# Exactly what symbols.txt lists, which is what the header declares; nothing of OpenSSL or libsrtp. A name that was ever
# in a release stays in the list.
symbols() {
  diff <(nm -D --defined-only "$out/libsfu.so.0" | awk '{ print $3 }' | sort) tests/abi/symbols.txt &&
    diff <(grep -oE '\bsfu_[a-z_]+\(' include/libsfu.h | tr -d '(' | sort -u) tests/abi/symbols.txt
}
check "the library has its soname" soname
check "the library exports what symbols.txt lists and the header declares, and nothing else" symbols

strict=(-Wall -Wextra -Werror -Iinclude)
echo '#include "libsfu.h"' >"$out/alone.c"
step "the header compiles alone as C99" cc -std=c99 -Wpedantic -Wc++-compat "${strict[@]}" -c "$out/alone.c" -o "$out/alone.o"
step "the header compiles alone as C++17" c++ -x c++ -std=c++17 -Wpedantic "${strict[@]}" -c "$out/alone.c" -o "$out/alone.o"

# The example between its two marks, taken out of its comment.
sed -n '/^ \* Example:/,/^ \* End of example/{/^ \*     /s/^ \*     //p}' include/libsfu.h >"$out/example.c"
link=(-L"$out" -lsfu)
static=(-l:libsfu.a -lpthread -ldl -lm)
step "the header's example compiles" cc -std=c99 "${strict[@]}" "$out/example.c" "${link[@]}" -o "$out/example"
step "the header's example runs" "$out/example"
step "the header's example links with the static library" cc -std=c99 "${strict[@]}" "$out/example.c" -L"$out" "${static[@]}" -o "$out/example-static"
step "the header's example runs with the static library" "$out/example-static"
step "the header's example has the bytes that flatc makes" tests/abi/example_bytes.sh "$venv/bin/flatc" "$out"

for json in tests/abi/requests/*.json; do
  "$venv/bin/flatc" --binary --size-prefixed -o "$out/requests" include/libsfu.fbs "$json"
done

c99=(cc -std=c99 -g -Wpedantic "${strict[@]}" -Itests/abi -Iexamples/c tests/abi/c99.c)
cpp=(c++ -std=c++17 -g -pthread "${strict[@]}" -Itests/abi -Iexamples/c -isystem "$venv/include" tests/abi/cpp17.cpp)
asan=(-fsanitize=address -fno-omit-frame-pointer)
tap=(cc -std=c99 -g -Wpedantic "${strict[@]}" -Iexamples/c tests/abi/media_tap.c)
step "the C99 program compiles" "${c99[@]}" "${link[@]}" -o "$out/c99"
step "the C99 program compiles with AddressSanitizer" "${c99[@]}" "${asan[@]}" "${link[@]}" -o "$out/c99-asan"
step "the C++17 program compiles" "${cpp[@]}" "${link[@]}" -o "$out/cpp17"
step "the C++17 program compiles with AddressSanitizer" "${cpp[@]}" "${asan[@]}" "${link[@]}" -o "$out/cpp17-asan"
step "the media tap program compiles" "${tap[@]}" "${link[@]}" -o "$out/media_tap"
step "the media tap program compiles with AddressSanitizer" "${tap[@]}" "${asan[@]}" "${link[@]}" -o "$out/media_tap-asan"
faults=(c++ -std=c++17 -g -pthread -Wpedantic "${strict[@]}" -isystem "$venv/include" tests/abi/faults.cpp)
step "the faults program compiles with AddressSanitizer" "${faults[@]}" "${asan[@]}" "${link[@]}" -o "$out/faults-asan"
step "the C99 program runs" "$out/c99" "$out/requests"
step "the C++17 program runs" "$out/cpp17"

# Both tools must be seen to find a mistake before their silence means anything.
cc -O0 -g tests/abi/canary.c -o "$out/canary"
cc -O0 -g "${asan[@]}" tests/abi/canary.c -o "$out/canary-asan"
valgrind=(valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
  --errors-for-leak-kinds=definite --fair-sched=yes)
export ASAN_OPTIONS=detect_leaks=1
check "AddressSanitizer finds a planted mistake" fails "$out/canary-asan"
check "valgrind finds a planted mistake" fails "${valgrind[@]}" "$out/canary"
step "the C99 program runs under AddressSanitizer" "$out/c99-asan" "$out/requests"
step "the C++17 program runs under AddressSanitizer" "$out/cpp17-asan"
step "the media tap program runs under AddressSanitizer" "$out/media_tap-asan"
step "the faults program runs under AddressSanitizer" "$out/faults-asan"
step "a program ends with an engine that is alive" "$out/faults-asan" exit
cc -std=gnu11 -O1 -fPIC -shared "${strict[@]}" tests/abi/valgrind_waits.c -o "$out/libwaits.so"
valgrind=(env "LD_PRELOAD=$out/libwaits.so" "${valgrind[@]}")
step "the C99 program runs under valgrind" "${valgrind[@]}" "$out/c99" "$out/requests"
step "the C++17 program runs under valgrind" "${valgrind[@]}" "$out/cpp17"
step "the media tap program runs under valgrind" "${valgrind[@]}" "$out/media_tap"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
