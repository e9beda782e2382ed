#!/usr/bin/env bash
# Installs the Debian packages that a group of work needs, and only those that are missing.
#   tests/setup/system.sh build        to compile the engine and the example service
#   tests/setup/system.sh test         to run every test as well
#   tests/setup/system.sh firefox      for the test with Firefox
# What is there already is found by command or file, so that a clang from elsewhere counts. Node.js is not among them:
# distributions have it too old for the browser's driver, so it comes with the Python tools.
set -euo pipefail

group="${1:?give a group: build, test or firefox}"

# commands-or-path|Debian packages. One of several commands is enough; a path may hold a pattern.
build=(
  "cc|gcc libc6-dev"
  "c++|g++"
  "make|make"
  "perl|perl"
  "pkg-config|pkg-config"
  "clang|clang"
  "/usr/lib/llvm-*/lib/libclang.so*|libclang-dev"
)
test=(
  "${build[@]}"
  "python3|python3"
  "python3:ensurepip|python3-venv"
  "valgrind|valgrind"
  "chromium chromium-browser google-chrome|chromium"
  "ffmpeg|ffmpeg"
  "ip|iproute2"
  "unshare|util-linux"
  "/usr/sbin/nft|nftables"
  "/usr/sbin/conntrack|conntrack"
  "nm|binutils"
  "/usr/include/nlohmann/json.hpp|nlohmann-json3-dev"
  "/usr/lib/*/libseccomp.so.2|libseccomp2"
  "/usr/lib/*/gstreamer-1.0/libgstwebrtc.so|gstreamer1.0-plugins-bad"
  "/usr/lib/*/gstreamer-1.0/libgstnice.so|gstreamer1.0-nice"
  "/usr/lib/*/gstreamer-1.0/libgstvpx.so|gstreamer1.0-plugins-good"
  "/usr/lib/*/gstreamer-1.0/libgstopus.so|gstreamer1.0-plugins-base"
  "gst-launch-1.0|gstreamer1.0-tools"
  "/usr/lib/*/girepository-1.0/GstWebRTC-1.0.typelib|gir1.2-gst-plugins-bad-1.0"
  "/usr/lib/python3/dist-packages/gi/overrides/Gst.py|python3-gst-1.0"
)
firefox=(
  "firefox-esr firefox|firefox-esr"
  "ip|iproute2"
  "unshare|util-linux"
)

present() {
  case "$1" in
    /*) compgen -G "$1" >/dev/null ;;
    python3:*) python3 -c "import ${1#python3:}, venv" 2>/dev/null ;;
    *)
      # Words on purpose: each is a command.
      for command in $1; do
        if command -v "$command" >/dev/null; then return 0; fi
      done
      return 1
      ;;
  esac
}

declare -n wanted="$group"
missing=()
for entry in "${wanted[@]}"; do
  if ! present "${entry%%|*}"; then
    read -r -a packages <<<"${entry#*|}"
    missing+=("${packages[@]}")
  fi
done
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "set-up: missing: ${missing[*]}. These are Debian's names; install their like with your package manager, then run again." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
fi
echo "set-up: installing ${missing[*]} (once)"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update &&
       "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "set-up: apt-get could not install ${missing[*]}; see above" >&2
  exit 1
fi
