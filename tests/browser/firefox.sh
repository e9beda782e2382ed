#!/usr/bin/env bash
# Runs the Firefox test in a network namespace of its own, which has an address beside the loopback one and goes with
# the test. Told by the environment what run.mjs is told.
set -euo pipefail

cd "$(dirname "$0")"
address=10.214.0.1

# Who is not root needs a user namespace as well.
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(--user --map-root-user)
fi
exec unshare "${as_root[@]}" --net bash -euo pipefail -c '
  ip link set lo up
  ip link add sfu0 type veth peer name sfu1
  ip address add "$0/24" dev sfu0
  ip link set sfu0 up
  ip link set sfu1 up
  ip route add default dev sfu0
  SFU_MEDIA_IP="$0" exec node --test-reporter=spec firefox.test.mjs
' "$address"
