#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make the root file system of a lab host, unless the cache has it; print its path.
#
#   rootfs.sh bookworm|trixie             make it if it is missing
#   rootfs.sh --cached bookworm|trixie    only look; exit status 1 if it is missing
#
# The cache is $EC2NET_CACHE (by default /var/cache/ec2net). A root file system is named after
# its release and a hash of this script, so a change of the packages makes a new one; it is made
# under a temporary name and renamed, so one that is there is whole.
set -euo pipefail
cached=
if [ "$1" = --cached ]; then
    cached=1
    shift
fi
release=$1
cache=${EC2NET_CACHE:-/var/cache/ec2net}
self=$(readlink -f "$0")
packages=(
    systemd systemd-sysv systemd-resolved udev dbus          # the host
    network-manager ifupdown isc-dhcp-client                 # present, masked until a test wants it
    iproute2 nftables procps strace                          # to look at it
    python3 python3-pluggy python3-requests python3-pyroute2 python3-dbus-next python3-dbus-fast
)

root=$cache/lab-$release-$(sha256sum "$self" | cut -c1-16)
if [ -e "$root" ]; then
    touch "$root.used"
    echo "$root"
    exit
fi
if [ -n "$cached" ]; then
    echo "rootfs.sh: $root is missing; tests/lab/setup.sh makes it" >&2
    exit 1
fi

# What mmdebstrap makes belongs to root and has device nodes.
[ "$(id -u)" -eq 0 ] || { echo "rootfs.sh: needs root" >&2; exit 1; }
mkdir -p "$cache"
exec 9>"$cache/.lock-$release"
flock -w 900 9 || { echo "rootfs.sh: another one makes $root for 15 minutes now" >&2; exit 1; }
if [ -e "$root" ]; then
    echo "$root"
    exit
fi
rm -rf "$cache/lab-$release-"*.making    # left by one that was killed
# Of other package lists, and not used for a day: a running lab may stand on a younger one.
find "$cache" -maxdepth 1 -name "lab-$release-*.used" -mtime +0 | while read -r used; do
    rm -rf "${used%.used}" "$used"
done
making=$root.making
echo "rootfs.sh: making $root" >&2
trap 'rm -rf "$making"' EXIT
include=$(IFS=,; echo "${packages[*]}")
for attempt in 1 2 3; do
    rm -rf "$making"
    if mmdebstrap --quiet --mode=root --variant=minbase --include="$include" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='chroot "$1" systemctl mask NetworkManager.service NetworkManager-wait-online.service NetworkManager-dispatcher.service networking.service' \
        --customize-hook='ln -s /dev/null "$1/etc/udev/rules.d/80-ifupdown.rules"' \
        --customize-hook='chroot "$1" systemctl enable systemd-networkd.service systemd-resolved.service' \
        --customize-hook='chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer getty@.service console-getty.service getty.target' \
        --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname" "$1/etc/machine-id"; ln -s ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"; rm -rf "$1/var/lib/apt/lists/"*' \
        --customize-hook='chroot "$1" touch /etc/.updated /var/.updated' \
        "$release" "$making" ${EC2NET_DEBIAN_MIRROR:+"$EC2NET_DEBIAN_MIRROR"} >&2
    then
        mv "$making" "$root"
        touch "$root.used"
        echo "$root"
        exit
    fi
    echo "rootfs.sh: attempt $attempt failed" >&2
    sleep $((attempt * 5))
done
echo "rootfs.sh: cannot make $root with mmdebstrap" >&2
exit 1
