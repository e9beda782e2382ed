#!/usr/bin/env bash
# Builds and runs round_trip.c against the release library; `make bench` calls this.
set -euo pipefail

cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
venv="${VENV:-$target/tools/venv}"
out="$target/abi-bench"
mkdir -p "$out/requests"
cp "$target/release/libsfu.so" "$out/libsfu.so.0"
ln -sf libsfu.so.0 "$out/libsfu.so"
for json in tests/abi/requests/*.json; do
  "$venv/bin/flatc" --binary --size-prefixed -o "$out/requests" include/libsfu.fbs "$json"
done
cc -std=c99 -O2 -Wall -Wextra -Werror -Iinclude -Itests/abi -Iexamples/c tests/abi/round_trip.c -L"$out" -lsfu -o "$out/round_trip"
LD_LIBRARY_PATH="$out" "$out/round_trip" "$out/requests"
