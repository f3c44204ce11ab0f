#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install an earlier package over a newer one. The configuration of the ENIs does not change meanwhile,
# and connections stay open. An earlier version ignores files in /run/ec2net that it does not know.
#   downgrade.sh PACKAGE [end-pause]
#
# Before the installation, the earlier version checks the configuration: it may not know a key. A pause
# stays in force. If the earlier version does not know pauses, the script ends before the installation;
# with end-pause it ends the pause instead, and the earlier version then makes the changes that waited.
set -euo pipefail
package=$(realpath "$1")
pause=/var/lib/ec2net/paused.json
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT

case "$package" in
    *.rpm) rpm2archive - < "$package" | tar -xz -C "$trial"; modules=usr/lib/ec2net/python python=python3.11 ;;
    *.deb) dpkg-deb --extract "$package" "$trial"; modules=usr/lib/python3/dist-packages python=python3 ;;
    *) echo "not a package: $package" >&2; exit 2 ;;
esac
if ! PYTHONPATH="$trial/$modules" "$python" -m ec2net config --check; then
    echo "the version in $package does not accept the configuration: nothing was changed" >&2
    exit 1
fi
if [ -e "$pause" ] && [ ! -e "$trial/$modules/ec2net/core/state/pause.py" ]; then
    if [ "${2:-}" != end-pause ]; then
        echo "changes are paused, and the version in $package knows no pauses: nothing was changed" >&2
        exit 1
    fi
    rm -f "$pause"
fi

ec2net status || echo "the host has trouble before the downgrade" >&2
case "$package" in
    *.rpm) dnf downgrade --assumeyes "$package" ;;
    *.deb) apt-get install --yes --quiet --allow-downgrades "$package" ;;
esac
ec2net --version
ec2net refresh
ec2net verify
