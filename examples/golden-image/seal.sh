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
ec2net config --check
