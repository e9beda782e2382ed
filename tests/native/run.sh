#!/usr/bin/env bash
# libsfu as an installation serves it: files, pkg-config, shared and static programs in C and C++ by plain compiler
# lines, and the example relays between two ffmpegs. `make native` builds the library and calls this.
set -euo pipefail

cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
venv="${VENV:-$target/tools/venv}"
out="$target/native"
rm -rf "$out"
mkdir -p "$out"

passed=0 failed=0
# step NAME COMMAND...: runs it, and shows what it said only when it fails. What hangs has failed.
step() {
  local name="$1"
  shift
  if timeout 240 "$@" >"$out/step.log" 2>&1; then
    passed=$((passed + 1))
    echo "native: $name: ok"
  else
    failed=$((failed + 1))
    echo "native: $name: FAILED"
    sed 's/^/    /' "$out/step.log" | tail -n 60
  fi
}

root="$out/root" prefix=/opt/libsfu
step "it installs below a prefix" ffi/install.sh "$target/debug" "$prefix" "$root" "$venv/include"
step "it installs below /" ffi/install.sh "$target/debug" / "$out/slash" "$venv/include"
step "there is a library under its soname" test "$(readlink -f "$root$prefix/lib/libsfu.so.0")" = "$(readlink -f "$root$prefix/lib/libsfu.so")"
step "below / it is where the linker looks" test -f "$out/slash/lib/libsfu.so" -a -f "$out/slash/include/libsfu.h" -a -f "$out/slash/lib/pkgconfig/libsfu.pc"
rm -rf "$out/slash"

# What a package's user would have, but in a folder of ours.
export PKG_CONFIG_LIBDIR="$root$prefix/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root" LD_LIBRARY_PATH="$root$prefix/lib"
read -r -a shared <<<"$(pkg-config --cflags --libs libsfu)"
read -r -a static <<<"$(pkg-config --cflags --libs libsfu-static)"
step "pkg-config tells what a static link needs too" test "$(pkg-config --static --libs-only-l libsfu | grep -c -- '-lpthread')" = 1
strict=(-g -Wall -Wextra -Wpedantic -Werror)
alone() { ! ldd "$1" | grep libsfu; }
step "the first program in C builds" cc "${strict[@]}" examples/c/first.c "${shared[@]}" -o "$out/first-c"
step "the first program in C runs" "$out/first-c"
step "the first program in C builds without the shared library" cc "${strict[@]}" examples/c/first.c "${static[@]}" -o "$out/first-c-static"
step "the first program in C runs without the shared library" env -u LD_LIBRARY_PATH "$out/first-c-static"
step "it is static indeed" bash -c "$(declare -f alone); alone $out/first-c-static"
step "the first program in C++ builds with g++" g++ -std=c++17 -pthread "${strict[@]}" examples/cpp/first.cpp "${shared[@]}" -o "$out/first-cpp"
step "the first program in C++ runs" "$out/first-cpp"
step "the wrapper compiles clean with clang++" clang++ -std=c++17 "${strict[@]}" -fsyntax-only examples/cpp/first.cpp examples/cpp/relay.cpp "${shared[@]:0:2}"
step "the first program in C++ links without the shared library" g++ -std=c++17 -pthread "${strict[@]}" examples/cpp/first.cpp "${static[@]}" -o "$out/first-cpp-static"
step "the first program in C++ runs without the shared library" env -u LD_LIBRARY_PATH "$out/first-cpp-static"

# told GUIDE PROGRAM: the guide shows the program as it is, but for its opening comment.
told() { diff -B <(sed -n '/in full/,/^## /{/^    /s/^    //p}' "$1") <(tail -n +2 "$2"); }
step "the guide of C has the first program" bash -c "$(declare -f told); told docs/c.md examples/c/first.c"
step "the guide of C++ has the first program" bash -c "$(declare -f told); told docs/cpp.md examples/cpp/first.cpp"
step "the README shows the first programs" python3 tests/native/shown.py README.md 2 examples/c/first.c examples/cpp/first.cpp

ffmpeg="$("$venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')"
step "the relay in C builds" cc "${strict[@]}" examples/c/relay.c "${shared[@]}" -o "$out/relay-c"
step "the relay in C carries video between two ffmpegs" python3 tests/native/relay.py "$ffmpeg" "$out/relay-c" "$out"
step "the relay in C++ builds" g++ -std=c++17 -pthread "${strict[@]}" examples/cpp/relay.cpp "${shared[@]}" -o "$out/relay-cpp"
step "the relay in C++ carries video between two ffmpegs" python3 tests/native/relay.py "$ffmpeg" "$out/relay-cpp" "$out"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
