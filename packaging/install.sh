#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install all files that are not Python, where systemd, udev and the network managers read them:
#   install.sh DESTDIR
# The deb and the rpm use this script.
set -euo pipefail
root=$(realpath -m "$1")
cd "$(dirname "$0")/.."

put() {   # mode target source...
    install -D -p -m "$1" -t "$root/$2" "${@:3}"
}

put 644 usr/lib/systemd/system systemd/*.service systemd/*.timer systemd/*.target
put 644 usr/lib/systemd/system-preset systemd/preset/*.preset
put 644 usr/lib/systemd/network systemd/network/*.network
put 644 usr/lib/systemd/networkd.conf.d systemd/networkd.conf.d/*.conf
put 644 usr/lib/udev/rules.d systemd/udev/*.rules
put 755 usr/lib/NetworkManager/dispatcher.d systemd/dispatcher.d/80-ec2net
mkdir -p "$root/usr/lib/NetworkManager/dispatcher.d/pre-up.d"
# One script for two moments. The release tarball has no links, so this makes the link.
ln -sf ../80-ec2net "$root/usr/lib/NetworkManager/dispatcher.d/pre-up.d/80-ec2net"
put 644 usr/lib/ec2net packaging/ec2net.toml
# Not on the path: another package has a command of this name.
put 755 usr/lib/ec2net packaging/setup-policy-routes
put 644 etc/iproute2/rt_protos.d packaging/iproute2/*.conf
for section in 5 7 8; do
    put 644 usr/share/man/man$section packaging/man/*.$section
done
install -D -p -m 644 packaging/completion/ec2net.bash \
    "$root/usr/share/bash-completion/completions/ec2net"
# Debian's zsh has a folder of its own for packages.
put 644 "${ZSH_FUNCTIONS:-usr/share/zsh/vendor-completions}" packaging/completion/_ec2net
put 644 usr/share/fish/vendor_completions.d packaging/completion/ec2net.fish
# For an image in on-demand mode: copy it to /etc/systemd/system-preset.
put 644 usr/share/doc/ec2net/examples systemd/preset-on-demand/*.preset systemd/tuning/*.rules
