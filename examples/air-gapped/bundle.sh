#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On a host with access to your mirror, of the same release as the hosts without access: collect ec2net
# and all packages that it needs.
#   bundle.sh RELEASE_FOLDER BUNDLE_FOLDER
set -euo pipefail
release=$(realpath "$1")
mkdir -p "$2"
cd "$2"
(cd "$release" && sha256sum --check --strict --quiet SHA256SUMS)
# shellcheck source=/dev/null
. /etc/os-release
case "$ID" in
    amzn) cp "$release"/ec2net-*.amzn2023.noarch.rpm . ;;
    debian) cp "$release"/ec2net_*_all.deb . ;;
    *) cp "$release"/ec2net-*.el9.noarch.rpm . ;;
esac
if [ "$ID" = debian ]; then
    mapfile -t needed < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances python3 python3-dbus-next python3-pluggy \
        python3-pyroute2 python3-requests | grep '^\w' | sort -u)
    apt-get download "${needed[@]}"
else
    dnf download --resolve --alldeps python3.11
fi
sha256sum -- * > ../bundle.sha256
mv ../bundle.sha256 BUNDLE.sha256
