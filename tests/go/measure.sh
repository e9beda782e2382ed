#!/usr/bin/env bash
# What the Go package costs: round trips, events, packets of direct transports, idling. `make bench` builds the library in
# release and calls this. GO: path of go.
set -euo pipefail

cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
tests/go/stage.sh "$target/release" "$target/go-release"
export PKG_CONFIG_PATH="$target/go-release/pkgconfig" GOFLAGS="${GOFLAGS:-} -buildvcs=false"
mkdir -p "$target/bench"
cd bindings-go
"${GO:?give the path of go}" test -run xxx -bench . -benchtime 2s -count 1 ./sfu | tee "$target/bench/go.txt"
