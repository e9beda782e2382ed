#!/usr/bin/env bash
# Installs libsfu for programs in C and C++: install.sh BUILT PREFIX DESTDIR FLATBUFFERS
#   BUILT        folder with libsfu.so and libsfu.a
#   PREFIX       where programs will find it, such as / or /usr/local
#   DESTDIR      put before PREFIX when files are written, for packages; may be empty
#   FLATBUFFERS  folder with the headers of flatbuffers, of the version that libsfu_generated.h was made with
# The headers of flatbuffers that the wrapper needs go into a folder of ours, so that another version on the machine
# is not touched.
set -euo pipefail

built="$1" prefix="${2%/}" destdir="$3" flatbuffers="$4"
cd "$(dirname "$0")/.."
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
soname="libsfu.so.0"
lib="$destdir$prefix/lib" include="$destdir$prefix/include"

install -d "$lib/pkgconfig" "$include/libsfu/flatbuffers" "$destdir$prefix/share/libsfu"
install -m 755 "$built/libsfu.so" "$lib/libsfu.so.$version"
ln -sf "libsfu.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libsfu.so"
install -m 644 "$built/libsfu.a" "$lib/libsfu.a"
install -m 644 include/libsfu.h include/libsfu.hpp include/libsfu_generated.h "$include"
install -m 644 include/libsfu/*.hpp "$include/libsfu"
install -m 644 include/libsfu.fbs "$destdir$prefix/share/libsfu"
for name in allocator array base buffer buffer_ref default_allocator detached_buffer flatbuffer_builder flatbuffers \
  stl_emulation string struct table vector vector_downward verifier; do
  install -m 644 "$flatbuffers/flatbuffers/$name.h" "$include/libsfu/flatbuffers"
done

# pc NAME LIBS PRIVATE: paths without DESTDIR, since it is gone when programs are built.
pc() {
  cat >"$lib/pkgconfig/$1.pc" <<PC
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: $1
Description: A WebRTC selective forwarding unit as a library
Version: $version
Cflags: -I\${includedir} -I\${includedir}/libsfu
Libs: $2
Libs.private: $3
PC
}
pc libsfu "-L\${libdir} -lsfu" "-lpthread -ldl -lm"
pc libsfu-static "-L\${libdir} -l:libsfu.a -lpthread -ldl -lm" ""
