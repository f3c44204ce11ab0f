#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The last step of an image build: enable ec2net's units for the first boot, and leave nothing of the
# build host in the image.
set -euo pipefail
rm -f /etc/systemd/system-preset/79-ec2net-image.preset
systemctl preset ec2net.service ec2net-early.service
if [ -e /var/lib/ec2net ]; then
    echo "this host was migrated, adopted or paused: do not make an image of it" >&2
    exit 1
fi
# A former tool must not start on the instances: Amazon Linux 2023 has amazon-ec2-net-utils. The files are
# those that 'ec2net migrate' masks and deletes in /etc; without the masks, the tool is back.
ec2net migrate --json | python3 -c 'import json, sys
for tool in json.load(sys.stdin)["tools"]:
    print(*tool["steps"], sep="\n")' |
    while read -r step path; do
        case "$step $path" in
            "mask /"*) install -d "${path%/*}" && ln -s /dev/null "$path" ;;
            "delete /etc/"*) rm -f "$path" ;;
        esac
    done
ec2net config --check
