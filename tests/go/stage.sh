#!/usr/bin/env bash
# Lays a built library out as an installation has it, with pkg-config files that lead to it: tests/go/stage.sh BUILT FOLDER
set -euo pipefail

root="$(cd "$(dirname "$0")/../.." && pwd)"
built="$(cd "${1:?give the folder of libsfu.so and libsfu.a}" && pwd)"
mkdir -p "${2:?give a folder}/lib" "$2/pkgconfig"
folder="$(cd "$2" && pwd)"
ln -f "$built/libsfu.so" "$folder/lib/libsfu.so.0" 2>/dev/null || cp "$built/libsfu.so" "$folder/lib/libsfu.so.0"
ln -f "$built/libsfu.a" "$folder/lib/libsfu.a" 2>/dev/null || cp "$built/libsfu.a" "$folder/lib/libsfu.a"
ln -sf libsfu.so.0 "$folder/lib/libsfu.so"
# pc NAME LIBS
pc() {
  cat >"$folder/pkgconfig/$1.pc" <<END
Name: $1
Description: libsfu of this build tree
Version: 0
Cflags: -I$root/include
Libs: $2
END
}
pc libsfu "-L$folder/lib -lsfu -Wl,-rpath,$folder/lib"
pc libsfu-static "-L$folder/lib -l:libsfu.a -lpthread -ldl -lm"
