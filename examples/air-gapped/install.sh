#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On a host without access to a mirror: check the bundle and install from it alone. A package that the
# host has in the same or a newer version stays as it is.
#   install.sh BUNDLE_FOLDER
set -euo pipefail
cd "$1"
sha256sum --check --strict --quiet BUNDLE.sha256
if command -v dnf >/dev/null; then
    dnf install --assumeyes --disablerepo='*' ./*.rpm
else
    debs=()
    for deb in ./*.deb; do
        present=$(dpkg-query --show --showformat='${Version}' "$(dpkg-deb --field "$deb" Package)" 2>/dev/null) || true
        if [ -z "$present" ] || dpkg --compare-versions "$present" lt "$(dpkg-deb --field "$deb" Version)"; then
            debs+=("$deb")
        fi
    done
    export DEBIAN_FRONTEND=noninteractive
    # No source is left to download from. With --no-download apt-get cannot install local files.
    apt-get install --yes --quiet -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts=/dev/null "${debs[@]}"
fi
ec2net status
