#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On a host with access to your mirror, of the same release as the hosts without access: collect ec2net
# and the packages that a minimal installation lacks. The bundle has no package of the base system.
#   bundle.sh RELEASE_FOLDER BUNDLE_FOLDER
set -euo pipefail
release=$(realpath "$1")
mkdir -p "$2"
cd "$2"
if [ -n "$(ls -A)" ]; then
    echo "$2 is not empty: name a new folder" >&2
    exit 2
fi
(cd "$release" && sha256sum --check --strict --quiet SHA256SUMS)
# shellcheck source=/dev/null
. /etc/os-release
case "$ID" in
    amzn) cp "$release"/ec2net-*.amzn2023.noarch.rpm . ;;
    debian) cp "$release"/ec2net_*_all.deb . ;;
    *) cp "$release"/ec2net-*.el9.noarch.rpm . ;;
esac
# The packages of a host on which apt installs these, and nothing else.
solved() {
    apt-get --simulate --no-install-recommends -o Dir::State::status=/dev/null install "$@" |
        sed -n 's/^Inst \([^ ]*\).*/\1/p' | sort
}
if [ "$ID" = debian ]; then
    mapfile -t base < <(apt-cache dumpavail |
        awk '/^Package:/ { name = $2 } /^Essential: yes|^Priority: (required|important)/ { print name }' | sort -u)
    mapfile -t needed < <(comm -13 <(solved "${base[@]}") <(solved "${base[@]}" python3 \
        python3-dbus-next python3-pluggy python3-pyroute2 python3-requests))
    apt-get download "${needed[@]}"
else
    # dnf leaves out what this host has already, so use a new instance of the base image.
    if rpm --query --quiet python3.11; then
        echo "python3.11 is installed here: use a host without it" >&2
        exit 2
    fi
    dnf download --resolve python3.11
fi
sha256sum -- * > ../bundle.sha256
mv ../bundle.sha256 BUNDLE.sha256
