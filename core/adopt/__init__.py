# SPDX-License-Identifier: Apache-2.0
"""``ec2net adopt networkd``: a running host is handed to systemd-networkd and systemd-resolved, and
given back as it was. What it was is recorded first; plans are pure, over what was looked at."""
