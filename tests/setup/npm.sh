#!/usr/bin/env bash
# Installs the packages of a folder's package-lock.json, when they changed: tests/setup/npm.sh FOLDER
set -euo pipefail

folder="${1:?give a folder with a package-lock.json}"
stamp="$folder/node_modules/.made-of"
wanted="$(sha256sum <"$folder/package-lock.json"; node --version)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
echo "set-up: packages of $folder (once)"
npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error
printf '%s' "$wanted" >"$stamp"
