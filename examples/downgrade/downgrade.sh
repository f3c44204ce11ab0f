#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install an earlier package over a newer one. The configuration of the ENIs does not change meanwhile,
# and connections stay open. An earlier version ignores files in /run/ec2net that it does not know.
#   downgrade.sh PACKAGE
set -euo pipefail
package=$(realpath "$1")
ec2net status || echo "the host has trouble before the downgrade" >&2
# An earlier version may lack the command, and would not honour a pause.
rm -f /var/lib/ec2net/paused.json
case "$package" in
    *.rpm) dnf downgrade --assumeyes "$package" ;;
    *.deb) apt-get install --yes --quiet --allow-downgrades "$package" ;;
    *) echo "not a package: $package" >&2; exit 2 ;;
esac
ec2net --version
ec2net config --check
ec2net refresh
ec2net verify
