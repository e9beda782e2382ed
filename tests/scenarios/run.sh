#!/usr/bin/env bash
# The scenarios of this folder in C (the plain ABI) and in C++ (the wrapper) against the debug library, under
# AddressSanitizer, and whether they cover the schema. `make native` builds the library and calls this.
set -euo pipefail

cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
venv="${VENV:-$target/tools/venv}"
out="$target/scenarios"
mkdir -p "$out"
cp "$target/debug/libsfu.so" "$out/libsfu.so.0"
ln -sf libsfu.so.0 "$out/libsfu.so"
"$venv/bin/flatc" --cpp --cpp-std c++17 --scoped-enums --gen-object-api --reflect-names -o "$out" include/libsfu.fbs

# The schema's header with reflection stands before the one without.
flags=(-std=c++17 -g -O0 -pthread -Wall -Wextra -Wpedantic -Werror -fsanitize=address -fno-omit-frame-pointer
  -I"$out" -Iinclude -isystem "$venv/include")
built=()
for source in tests/scenarios/runner/*.cpp; do
  object="$out/$(basename "$source" .cpp).o"
  built+=("$object")
  # Seconds each: only what changed.
  newest="$(ls -t "$object" "$source" tests/scenarios/runner/*.hpp include/*.h* include/libsfu/* 2>/dev/null | head -n 1 || true)"
  if [ "$newest" != "$object" ]; then
    c++ "${flags[@]}" -c "$source" -o "$object"
  fi
done
c++ -fsanitize=address -pthread "${built[@]}" -L"$out" -lsfu -o "$out/runner"

failed=0
python3 tests/scenarios/coverage.py include/libsfu.fbs tests/scenarios include/libsfu.hpp include/libsfu/*.hpp || failed=1
files=()
for file in tests/scenarios/*.json; do
  if [ "$(basename "$file")" != exempt.json ]; then files+=("$file"); fi
done
export LD_LIBRARY_PATH="$out" ASAN_OPTIONS=detect_leaks=1
for language in plain wrapped; do
  timeout 300 "$out/runner" "$language" "${files[@]}" || failed=1
done
exit "$failed"
