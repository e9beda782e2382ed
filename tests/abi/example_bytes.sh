#!/usr/bin/env bash
# The bytes in the header's example are what flatc makes of the line above them: example_bytes.sh FLATC FOLDER
set -euo pipefail

flatc="$1" out="$2"
sed -n 's/^ *\/\/ \({.*}\), by flatc\.$/\1/p' "$out/example.c" >"$out/example.json"
test -s "$out/example.json"
"$flatc" --binary --size-prefixed -o "$out" include/libsfu.fbs "$out/example.json"
diff <(grep -oE '0x[0-9a-f]{2}' "$out/example.c" | cut -c 3-) <(od -An -v -tx1 "$out/example.bin" | tr -s ' ' '\n' | sed '/^$/d')
