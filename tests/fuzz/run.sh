#!/usr/bin/env bash
# Builds every fuzz target with AddressSanitizer and runs each over its committed seeds and what earlier runs found:
#   tests/fuzz/run.sh SECONDS [TARGET...]
# A finding stays in tests/artifacts/fuzz/TARGET, with the command that repeats it.
set -euo pipefail

cd "$(dirname "$0")/../.."
seconds="${1:?give the seconds for each target}"
shift
target="${CARGO_TARGET_DIR:-$PWD/target}"
venv="${VENV:-$target/tools/venv}"
triple="$(rustc -vV | sed -n 's/^host: //p')"
out="$target/fuzz"
artifacts="$PWD/tests/artifacts/fuzz"
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
  mapfile -t targets < <("$venv/bin/cargo-fuzz" list --fuzz-dir tests/fuzz)
fi

# The sanitizer's flags are unstable ones; the stable compiler has them all the same.
export RUSTC_BOOTSTRAP=1
# OpenSSL is C and built without the sanitizer anyway: take the tree's own build of it if there is one.
openssl="$(ls -d "$target"/debug/build/openssl-sys-*/out/openssl-build/install 2>/dev/null | head -n 1 || true)"
if [ -n "$openssl" ]; then
  export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_DIR="$openssl"
fi
# cargo-fuzz does not ask for the lock file to be whole; this does, and names the remedy.
if ! cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null; then
  echo "fuzz: tests/fuzz/Cargo.lock is stale; run \`cargo metadata --manifest-path tests/fuzz/Cargo.toml\` and commit it" >&2
  exit 1
fi
echo "fuzz: building ${#targets[@]} targets"
"$venv/bin/cargo-fuzz" build --fuzz-dir tests/fuzz --target-dir "$out"

fuzz() {
  local name="$1"
  local found="$out/corpus/$name" log="$out/$name.log"
  local seeds="tests/fuzz/corpus/$name"
  mkdir -p "$found" "$artifacts/$name"
  local folders=("$found")
  if [ -d "$seeds" ]; then folders+=("$seeds"); fi
  if "$out/$triple/release/$name" "${folders[@]}" ${FUZZ_SEED:+-seed="$FUZZ_SEED"} -max_total_time="$seconds" -max_len=4096 -timeout=10 \
      -rss_limit_mb=2048 -artifact_prefix="$artifacts/$name/" >"$log" 2>&1; then
    rmdir --ignore-fail-on-non-empty "$artifacts/$name"
    echo "fuzz: $name: ok, $(sed -n 's/^Done \([0-9]*\) runs.*/\1 runs/p' "$log")"
  else
    echo "fuzz: $name: FAILED; repeat it with: $out/$triple/release/$name $artifacts/$name/FILE"
    tail -n 40 "$log" | sed 's/^/    /'
    return 1
  fi
}
export -f fuzz
export out artifacts seconds triple

# Two at a time: the smallest machine that runs this has two cores.
results="$out/results"
: >"$results"
export results
printf '%s\n' "${targets[@]}" | xargs -P 2 -I NAME bash -c \
  'if fuzz NAME; then echo ok >>"$results"; else echo bad >>"$results"; fi'
passed=$(grep -c ok "$results" || true) failed=$(grep -c bad "$results" || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
