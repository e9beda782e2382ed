#!/usr/bin/env bash
# A test program of the Go package under the tag libsfu_static needs no libsfu.so: tests/go/linked.sh GO FOLDER
set -euo pipefail

program="$(cd "${2:?give a folder}" && pwd)/static.test"
cd "$(dirname "$0")/../../bindings-go"
"${1:?give the path of go}" test -tags libsfu_static -c -o "$program" ./sfu
if readelf -d "$program" | grep NEEDED | grep libsfu; then
  echo "the program is linked with the shared library" >&2
  exit 1
fi
cd sfu
LD_LIBRARY_PATH="" "$program" -test.v -test.run 'TestEveryCommand|Row073'
