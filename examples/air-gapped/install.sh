#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On a host without access to a mirror: check the bundle and install from it alone.
#   install.sh BUNDLE_FOLDER
set -euo pipefail
cd "$1"
sha256sum --check --strict --quiet BUNDLE.sha256
if command -v dnf >/dev/null; then
    dnf install --assumeyes --disablerepo='*' ./*.rpm
else
    export DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --quiet --no-download -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts=/dev/null ./*.deb
fi
ec2net status
