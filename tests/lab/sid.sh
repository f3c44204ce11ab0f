#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make the root file system of a lab host with Debian sid, unless the cache has it; print its path.
#
#   sid.sh             make it if it is missing
#   sid.sh --cached    only look; exit status 1 if it is missing
#
# It is that of rootfs.sh without dhclient, which sid does not have. A snapshot of sid is valid for a week
# only, and a mirror may lag.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
sed 's/ isc-dhcp-client / /' "$here/rootfs.sh" >"$own/rootfs.sh"
mirror="deb [check-valid-until=no] ${EC2NET_DEBIAN_MIRROR:-http://deb.debian.org/debian} sid main"
EC2NET_DEBIAN_MIRROR=$mirror bash "$own/rootfs.sh" "$@" sid
