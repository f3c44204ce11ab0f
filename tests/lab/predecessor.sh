#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Download amazon-ec2-net-utils 2.3 of Debian 12, and what it needs beyond a lab host, unless the
# cache has them; print the folder with the debs.
#
#   predecessor.sh             download them if they are missing
#   predecessor.sh --cached    only look; exit status 1 if they are missing
#
# apt-get of this machine works with the sources and the dpkg status of the lab's root file system,
# so the debs fit that root whatever release this machine runs.
set -euo pipefail
root=$("$(dirname "$0")/rootfs.sh" ${1:+"$1"} bookworm)
folder=$root.net-utils
if [ -e "$folder" ]; then
    echo "$folder"
    exit
fi
if [ "${1:-}" = --cached ]; then
    echo "predecessor.sh: $folder is missing; tests/lab/setup.sh makes it" >&2
    exit 1
fi
for old in "${root%/*}"/lab-bookworm-*.net-utils; do # of a root file system that is gone
    [ -e "${old%.net-utils}" ] || rm -rf "$old"
done
making=$(mktemp -d "$folder.making.XXXXXX")
trap 'rm -rf "$making"' EXIT
mkdir -p "$making/lists/partial" "$making/cache/archives/partial" "$making/etc/apt.conf.d"
options=(
    -o "Dir::Etc::sourcelist=$root/etc/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::Etc::trustedparts=$root/etc/apt/trusted.gpg.d"
    -o "Dir::State::lists=$making/lists" -o "Dir::State::status=$root/var/lib/dpkg/status"
    -o "Dir::Cache=$making/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
)
apt-get "${options[@]}" -qq update >&2
apt-get "${options[@]}" -qq --yes --no-install-recommends --download-only \
    install amazon-ec2-net-utils curl >&2
mkdir "$making/debs"
mv "$making"/cache/archives/*.deb "$making/debs"
mv "$making/debs" "$folder"
echo "$folder"
