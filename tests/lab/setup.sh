#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what the host lab needs, and only what is missing: Debian packages (as root) and the
# root file systems of its hosts.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
for entry in mmdebstrap:mmdebstrap systemd-container:systemd-nspawn dnsmasq-base:dnsmasq \
    iproute2:ip nftables:nft util-linux:nsenter
do
    PATH=$PATH:/usr/sbin:/sbin command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
done
if [ ${#missing[@]} -ne 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "setup: missing Debian packages: ${missing[*]} (install them, or run as root)" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        apt-get update -qq >/dev/null
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    }
fi
for release in bookworm trixie; do
    ./rootfs.sh "$release" >/dev/null
    ./neighbours.sh "$release" >/dev/null
    ./neighbours.sh "$release" cloud-init >/dev/null
done
./predecessor.sh >/dev/null
