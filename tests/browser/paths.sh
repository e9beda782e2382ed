#!/usr/bin/env bash
# Runs the tests of what networks do to a browser's path: a browser in a network namespace of its own, whose UDP passes nft
# rules that rewrite its source ports, or drop what is long. Both namespaces go with the tests. Told by the environment what
# run.mjs is told.
# Where the machine cannot, it says why, aloud, and the tests count as skipped.
set -euo pipefail

cd "$(dirname "$0")"
# Where Debian keeps nft and conntrack, which is not on everybody's path.
export PATH="$PATH:/usr/sbin:/sbin"

# Who is not root needs a user namespace as well.
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(--user --map-root-user)
fi
why=""
for tool in ip nft conntrack nsenter python3; do
  command -v "$tool" >/dev/null || why="there is no $tool; tests/setup/system.sh test installs it"
done
try='nft add table ip sfu && nft "add chain ip sfu nat { type nat hook postrouting priority 100 ; }" && conntrack -F'
if [ -z "$why" ] && ! said="$(unshare "${as_root[@]}" --net sh -c "$try" 2>&1)"; then
  why="no NAT in a network namespace: $said"
fi
if [ -n "$why" ]; then
  printf '\n!!! SKIPPED: paths.test.mjs: %s\n\n' "$why" >&2
  SFU_PATHS_SKIP="$why" exec node --test-reporter=spec paths.test.mjs
fi
exec unshare "${as_root[@]}" --net bash -euo pipefail -c '
  unshare --net sleep infinity &
  far=$!
  trap "kill $far" EXIT
  until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
  ip link set lo up
  ip link add sfu0 type veth peer name sfu1 netns "$far"
  ip address add 10.215.0.1/24 dev sfu0
  # Runs of packets go over such a link as one, which no rule may take for a long packet.
  ip link set sfu0 gso_max_segs 1
  ip link set sfu0 up
  beyond() { nsenter --target "$far" --net -- "$@"; }
  beyond ip link set lo up
  beyond ip address add 10.215.0.2/24 dev sfu1
  beyond ip link set sfu1 up
  # Browsers look for addresses along this.
  beyond ip route add default via 10.215.0.1
  ip route add default dev sfu0
  SFU_FAR="$far" SFU_NEAR_IP=10.215.0.1 SFU_FAR_IP=10.215.0.2 node --test-reporter=spec paths.test.mjs
'
