#!/usr/bin/env bash
# Lints, types and tests of the Python package and of its examples: `make python` builds the library and calls this.
# LIBSFU_LIBRARY names the library, VENV the environment with the tools.
set -euo pipefail

cd "$(dirname "$0")/.."
bin="${VENV:?name the environment of tests/setup/python.sh}/bin"
export PATH="$bin:$PATH" PYTHONDONTWRITEBYTECODE=1
cache="${CARGO_TARGET_DIR:-../target}/python"
mkdir -p "$cache"

ruff check --quiet --cache-dir "$cache/ruff" --config pyproject.toml . ../examples/python
ruff format --check --quiet --cache-dir "$cache/ruff" --config pyproject.toml . ../examples/python
MYPYPATH=.:../examples/python mypy --no-error-summary --cache-dir "$cache/mypy" libsfu ../examples/python
python -m pytest -p no:cacheprovider "$@"
