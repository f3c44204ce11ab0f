#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make a layer with other programs that hosts of the lab run beside ec2net, unless the cache has it;
# print its folder.
#
#   neighbours.sh bookworm|trixie [cloud-init]             make it if it is missing
#   neighbours.sh --cached bookworm|trixie [cloud-init]    only look; exit status 1 if it is missing
#
# cloud-init has a layer of its own, since that of Debian 13 conflicts with firewalld. A layer holds what
# apt-get changes when it installs the packages into the lab's root file system. No unit of them is
# enabled: a test starts what it wants.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cached=
if [ "$1" = --cached ]; then
    cached=1
    shift
fi
release=$1
kind=${2:-neighbours}
packages=(
    docker.io busybox-static            # containers, and the program in them
    keepalived bird2 frr                # addresses and routes that come and go
    wireguard-go wireguard-tools        # a VPN in user space
    firewalld ufw iptables              # packet filters
    netplan.io dhcpcd-base              # network configuration
    podman containernetworking-plugins  # containers, and pods
    haproxy chrony                      # services
)
[ "$release" = bookworm ] || packages+=(docker-cli) # a package of its own from Debian 13 on
[ "$kind" != cloud-init ] || packages=(cloud-init netplan.io)
units=(
    docker.service docker.socket containerd.service keepalived.service bird.service frr.service
    firewalld.service ufw.service
    podman.service podman.socket podman-restart.service podman-auto-update.service
    podman-auto-update.timer haproxy.service chrony.service chronyd.service chronyd-restricted.service
    chrony-wait.service cni-dhcp.service cni-dhcp.socket
)

root=$("$here/rootfs.sh" ${cached:+--cached} "$release")
layer=$root.$kind-$(sha256sum "$0" | cut -c1-8)
if [ -e "$layer" ]; then
    echo "$layer"
    exit
fi
if [ -n "$cached" ]; then
    echo "neighbours.sh: $layer is missing; tests/lab/setup.sh makes it" >&2
    exit 1
fi
[ "$(id -u)" -eq 0 ] || { echo "neighbours.sh: needs root" >&2; exit 1; }
for old in "${root%/*}"/lab-"$release"-*."$kind"-*; do # of another root or another list of packages
    rm -rf "$old"
done
echo "neighbours.sh: making $layer" >&2
making=$(mktemp -d "$layer.making.XXXXXX")
trap 'rm -rf "$making"' EXIT
mkdir "$making"/{upper,work,root}
export root making layer
export package_list="${packages[*]}" unit_list="${units[*]}"
unshare --mount bash -euo pipefail <<'INSIDE' >&2
mount -t overlay -o "lowerdir=$root,upperdir=$making/upper,workdir=$making/work" overlay "$making/root"
cd "$making/root"
rm -f etc/resolv.conf
cat /etc/resolv.conf >etc/resolv.conf
cp /etc/hosts etc/hosts
for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*proxy*; do
    [ ! -f "$file" ] || cp "$file" etc/apt/apt.conf.d/90-lab-proxy
done
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
mkdir -p etc/systemd/system-preset
for unit in $unit_list; do echo "disable $unit"; done >etc/systemd/system-preset/00-neighbours.preset
export DEBIAN_FRONTEND=noninteractive
chroot . apt-get -qq update
chroot . apt-get -qq --yes --no-install-recommends install $package_list >log 2>&1 || { cat log; exit 1; }
for unit in $unit_list; do chroot . systemctl disable "$unit" >/dev/null 2>&1 || true; done
# cloud-init's generator enables its units.
[ ! -d etc/cloud ] || touch etc/cloud/cloud-init.disabled
rm -rf log usr/sbin/policy-rc.d etc/apt/apt.conf.d/90-lab-proxy var/lib/apt/lists/* var/cache/apt/*.bin \
    var/cache/apt/archives/*.deb etc/hosts
rm -f etc/resolv.conf
ln -s ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
touch etc/.updated var/.updated
cd /
umount "$making/root"
INSIDE
mv "$making/upper" "$layer"
echo "$layer"
