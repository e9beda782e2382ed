#!/bin/sh
# Runs a browser in the namespace of the process SFU_FAR, for paths.test.mjs.
exec nsenter --target "$SFU_FAR" --net -- "$CHROMIUM" "$@"
