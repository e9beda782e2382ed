#!/usr/bin/env bash
# The example's web page: `build` writes its bundle, `check` fails if the checked-in one is not what the sources make.
set -euo pipefail

cd "$(dirname "$0")/../.."
page=examples/sfu-cli/page
tests/setup/npm.sh "$page"

case "${1:-}" in
  build)
    npm run --prefix "$page" --silent check
    npm run --prefix "$page" --silent build
    ;;
  check)
    npm run --prefix "$page" --silent check
    before="$(mktemp -d)"
    trap 'rm -rf "$before"' EXIT
    cp -a "$page/dist" "$before/"
    npm run --prefix "$page" --silent build
    if ! diff -rq "$before/dist" "$page/dist"; then
      # What was there stays there: a check does not change the work tree.
      rm -rf "$page/dist"
      cp -a "$before/dist" "$page/dist"
      echo "page: the bundle is stale; run \`make page\` and commit $page/dist" >&2
      exit 1
    fi
    echo "page: the bundle is fresh"
    ;;
  *)
    echo "give build or check" >&2
    exit 2
    ;;
esac
