#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# User data for Amazon Linux 2023, RHEL 9, Debian 12 and 13: install ec2net from your own bucket or mirror,
# verify the checksum, and stop with an error that cloud-init logs if anything is wrong.
set -euo pipefail

source_url="https://mirror.example.com/ec2net"      # a folder with the files of a release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# shellcheck source=/dev/null
. /etc/os-release
case "$ID:${VERSION_ID%%.*}" in
    amzn:2023) pattern='\.amzn2023\.noarch\.rpm$' ;;
    rhel:9|rocky:9|almalinux:9|centos:9) pattern='\.el9\.noarch\.rpm$' ;;
    debian:12|debian:13) pattern='_all\.deb$' ;;
    *) echo "ec2net: no package for $PRETTY_NAME" >&2; exit 1 ;;
esac

fetch() { curl --fail --silent --show-error --retry 5 --max-time 120 --remote-name "$source_url/$1"; }

fetch SHA256SUMS
line=$(grep -E "$pattern" SHA256SUMS)
package=${line##*[ *]}
fetch "$package"
printf '%s\n' "$line" | sha256sum --check --strict

case "$package" in
    *.rpm) dnf install --assumeyes "./$package" ;;
    *.deb)
        export DEBIAN_FRONTEND=noninteractive
        apt-get update --quiet
        apt-get install --yes --quiet "./$package"
        ;;
esac

# ec2net changes nothing on an ENI that another tool configures. Amazon Linux 2023 has
# amazon-ec2-net-utils, and images of RHEL 9 may have nm-cloud-setup: replace the tool that is active.
tools=$(ec2net migrate --json |
    python3 -c 'import json, sys
for one in json.load(sys.stdin)["tools"]:
    if one["steps"]:
        print(one["tool"])')
for tool in $tools; do
    ec2net migrate --from "$tool" --apply
done
ec2net refresh
ec2net verify
