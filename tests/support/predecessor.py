# SPDX-License-Identifier: Apache-2.0
"""amazon-ec2-net-utils on lab hosts: Debian's 2.3 itself, and test units wired like 2.7.4's.

The lab's links are veth, so the real rule and the real .network file get that driver.
"""

import re
import shutil
import subprocess
from pathlib import Path

from checkout import TOP
from kernel_state import differences
from lab_boot import rules_and_routes
from lab_instance import LabInstance
from lab_root import LabUnavailable

TOOL = "amazon-ec2-net-utils"
MIGRATE = ("ec2net", "migrate", "--from", TOOL)
RULE = "usr/lib/udev/rules.d/99-vpc-policy-routes.rules"
BASE = "usr/lib/systemd/network/80-ec2.network"

_SHORT = """\
[Timer]
OnActiveSec=
OnActiveSec=2
OnUnitInactiveSec=
OnUnitInactiveSec=2
RandomizedDelaySec=0
AccuracySec=100ms
"""
"""A period of 2 s instead of 60: a test need not wait for it."""

_SCRIPT = """\
#!/bin/sh
# setup-policy-routes LINK: the files of one ENI, and a reload when one of them changed.
set -eu
link=$1 place=/run/systemd/network/70-$1.network number=$((${1#ens} - 5))
table=$((10000 + number)) changed=/run/setup-policy-routes-$1
addresses() { ip -$1 -o addr show dev $link scope global | sed -n 's,.* inet6* \\([^/ ]*\\)/.*,\\1,p'; }
put() { # a file from the standard input, if it differs
    cat > $place.d/.new.$$
    if [ ! -s $place.d/.new.$$ ] || cmp -s $place.d/.new.$$ $place.d/$1; then rm $place.d/.new.$$; return; fi
    mv $place.d/.new.$$ $place.d/$1
    : > $changed
}
mkdir -p $place.d
[ -L $place ] || ln -s /usr/lib/systemd/network/80-ec2.network $place
first=$(addresses 4 | sort -V | head -1) last=
[ -n "$first" ] || exit 0
put eni.conf <<END
[Match]
MACAddress=$(cat /sys/class/net/$link/address)
[Network]
DHCP=yes
[DHCPv4]
RouteMetric=$((512 + number))
[IPv6AcceptRA]
RouteMetric=$((512 + number))
[Route]
Table=$table
Gateway=_ipv6ra
[Route]
Table=$table
Gateway=_dhcp4
[Route]
Table=$table
Destination=$([ $number = 0 ] && echo 10.0.1.0/24 || echo 10.0.32.0/20)
END
second=${first%.*}.$((${first##*.} + 1))
printf '[Address]\\nAddress=%s/32\\nAddPrefixRoute=false\\n' $second | put ec2net_alias.conf
if [ $number != 0 ]; then
    rule='[RoutingPolicyRule]\\nFrom=%s\\nPriority=%s\\nTable=%s\\n'
    printf "$rule$rule" $first $table $table $second $table $table | put ec2net_policy_4.conf
    for address in $(addresses 6); do printf "$rule" $address $table $table; done |
        put ec2net_policy_6.conf
fi
if [ -e $changed ]; then
    rm $changed
    networkctl reload
fi
"""

WIRING = {
    f"/{BASE}": (
        "[Match]\nDriver=veth\nName=ens*\n[Network]\nDHCP=yes\nIPv6DuplicateAddressDetection=0\n"
    ),
    "/usr/bin/setup-policy-routes": _SCRIPT,
    "/usr/lib/systemd/system/policy-routes@.service": (
        "[Unit]\nWants=refresh-policy-routes@%i.timer\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nKillMode=process\n"
        "Restart=on-failure\nRestartSec=1\n"
        "ExecStartPre=/lib/systemd/systemd-networkd-wait-online -i %i\n"
        "ExecStart=sh /usr/bin/setup-policy-routes %i\n"
        "[Install]\nAlso=refresh-policy-routes@%i.timer\n"
    ),
    "/usr/lib/systemd/system/refresh-policy-routes@.service": (
        "[Service]\nType=oneshot\nKillMode=process\nExecStart=sh /usr/bin/setup-policy-routes %i\n"
    ),
    # Without [Install], as in 2.7.4: no link enables it, and systemd has no file for it.
    "/usr/lib/systemd/system/refresh-policy-routes@.timer": (
        "[Timer]\nOnActiveSec=1\nOnUnitInactiveSec=1\nAccuracySec=100ms\n"
    ),
    f"/{RULE}": (
        'SUBSYSTEM=="net", ACTION=="add", ENV{ID_NET_DRIVER}=="veth", NAME=="ens*",'
        ' RUN+="/usr/bin/systemctl enable --now --no-block policy-routes@%k.service"\n'
    ),
}
"""2.7.4's wiring: udev starts the service, whose Wants= starts the timer."""


_CLOUD_SETUP = """\
#!/usr/bin/python3
# nm-cloud-setup's work: for each link its addresses, routes and rules in the applied connection, by
# Reapply, if they differ (_nmc_mangle_connection and _config_one in the tool's main.c).
import json
import socket
import urllib.request
from ipaddress import ip_network

from ec2net.backends.networkmanager.bus import Bus
from ec2net.backends.networkmanager.client import NetworkManager
from ec2net.backends.networkmanager.merge import without_old_keys
from ec2net.backends.networkmanager.typed import Typed
from ec2net.core.runtime.deadline import Deadline

KEYS = ("address", "prefix", "dest", "next-hop", "priority", "table", "from")


def ask(path, **more):
    request = urllib.request.Request("http://169.254.169.254/latest/" + path, **more)
    return urllib.request.urlopen(request, timeout=5).read().decode()


def rule(number, table, **more):
    base = {"family": ("i", 2), "priority": ("u", number), "table": ("u", table)}
    return typed({**base, **more})


def typed(values):
    return {key.replace("_", "-"): Typed(*value) for key, value in values.items()}


def same(section, key, wanted):
    def plain(entries):
        found = [{k: v.value for k, v in e.items() if k in KEYS} for e in entries]
        return sorted(json.dumps(entry, sort_keys=True) for entry in found)
    return key in section and plain(section[key].value) == plain(wanted)


def setup(manager, link, index, ips, subnet, limit):
    device = manager.device(link, limit)
    if device is None or device.state != 100:
        return
    first, second = 30200 + index, 30400 + index
    sources = [{"from": ("s", ip), "from-len": ("y", 32)} for ip in ips]
    to = {"dest": ("s", str(subnet[0])), "prefix": ("u", subnet.prefixlen)}
    by = {"dest": ("s", "0.0.0.0"), "prefix": ("u", 0), "next-hop": ("s", str(subnet[1]))}
    wanted = {
        "address-data": [
            typed({"address": ("s", ip), "prefix": ("u", subnet.prefixlen)}) for ip in ips
        ],
        "route-data": [
            typed({**way, "metric": ("u", 10), "table": ("u", table)})
            for way, table in ((to, first), (by, second))
        ],
        "routing-rules": [
            *(rule(first, first, **source) for source in sources),
            rule(30350, 254, suppress_prefixlength=("i", 0)),
            *(rule(second, second, **source) for source in sources),
        ],
    }
    settings, version = manager.applied(device.path, limit)
    if all(same(settings["ipv4"], key, value) for key, value in wanted.items()):
        return
    section = {key: Typed("aa{sv}", value) for key, value in wanted.items()}
    new = without_old_keys({**settings, "ipv4": {**settings["ipv4"], **section}})
    manager.reapply(device.path, new, version, limit)


life = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
token = {"X-aws-ec2-metadata-token": ask("api/token", method="PUT", headers=life)}
links = {}
for _, name in socket.if_nameindex():
    with open(f"/sys/class/net/{name}/address") as file:
        links[file.read().strip()] = name
with Bus() as bus:
    base = "meta-data/network/interfaces/macs/"
    for index, mac in enumerate(sorted(ask(base, headers=token).replace("/", "").split())):
        ips = ask(f"{base}{mac}/local-ipv4s", headers=token).split()
        subnet = ip_network(ask(f"{base}{mac}/subnet-ipv4-cidr-block", headers=token))
        if mac in links:
            limit = Deadline(30, "nm-cloud-setup")
            setup(NetworkManager(bus), links[mac], index, ips, subnet, limit)
"""

_DISPATCHER = """\
#!/bin/sh
case $2 in up | dhcp4-change)
    systemctl -q is-enabled nm-cloud-setup.service && systemctl --no-block start nm-cloud-setup.service ;;
esac
exit 0
"""

CLOUD_SETUP_WIRING = {
    "/usr/libexec/nm-cloud-setup": _CLOUD_SETUP,
    "/usr/lib/systemd/system/nm-cloud-setup.service": (
        "[Unit]\nAfter=NetworkManager.service\nStartLimitIntervalSec=0\n"
        "[Service]\nType=oneshot\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n"
        "ExecStart=python3 /usr/libexec/nm-cloud-setup\n"
        "[Install]\nWantedBy=NetworkManager.service\nAlso=nm-cloud-setup.timer\n"
    ),
    "/usr/lib/systemd/system/nm-cloud-setup.timer": (
        "[Timer]\nOnBootSec=2\nOnUnitActiveSec=5\nAccuracySec=100ms\n"
        "[Install]\nWantedBy=timers.target\n"
    ),
    "/usr/lib/NetworkManager/dispatcher.d/90-nm-cloud-setup.sh": _DISPATCHER,
    "/etc/systemd/system-preset/10-nm-cloud-setup.preset": (
        "enable nm-cloud-setup.service\nenable nm-cloud-setup.timer\n"
    ),
}
"""nm-cloud-setup's wiring: a timer, NetworkManager's Wants=, and a script of its dispatcher."""


_NETCONFIG = """\
#!/bin/sh
# cloud-netconfig's work for each link: its second address, a rule and a route in a table of its own.
set -eu
. /etc/default/cloud-netconfig
[ "$CLOUD_NETCONFIG_MANAGE" = no ] && exit 0
for path in /sys/class/net/ens*; do
    link=${path##*/} index=$(cat $path/ifindex) table=$((30400 + $(cat $path/ifindex)))
    first=$(ip -4 -o addr show dev $link scope global | sed -n 's,.* inet \\([^ ]*\\).*,\\1,p' | head -1)
    [ -n "$first" ] || continue
    address=${first%/*} second=${first%.*}.$((${address##*.} + 1))
    gateway=$(ip -4 route show default dev $link | sed -n 's,.* via \\([^ ]*\\).*,\\1,p' | head -1)
    [ -n "$gateway" ] || gateway=${address%.*}.1
    ip -4 addr show dev $link | grep -q "inet $second/" ||
        ip addr add $second/${first#*/} dev $link noprefixroute
    ip rule | grep -q "from $second lookup $table" ||
        ip rule add from $second priority $table table $table
    ip route replace default via $gateway dev $link onlink table $table
done
"""

NETCONFIG_WIRING = {
    "/usr/bin/cloud-netconfig": _NETCONFIG,
    "/etc/default/cloud-netconfig": '# for all links\nCLOUD_NETCONFIG_MANAGE="yes"\nOTHER="1"\n',
    "/usr/lib/systemd/system/cloud-netconfig.service": (
        "[Service]\nType=oneshot\nExecStart=sh /usr/bin/cloud-netconfig\n"
    ),
    "/usr/lib/systemd/system/cloud-netconfig.timer": (
        "[Timer]\nOnActiveSec=2\nOnUnitActiveSec=2\nAccuracySec=100ms\n"
        "[Install]\nWantedBy=timers.target\n"
    ),
    "/usr/lib/udev/rules.d/51-cloud-netconfig-hotplug.rules": (
        'SUBSYSTEM=="net", ACTION=="add", NAME=="ens*",'
        ' RUN+="/usr/bin/systemctl start --no-block cloud-netconfig.service"\n'
    ),
    "/etc/systemd/system-preset/10-cloud-netconfig.preset": "enable cloud-netconfig.timer\n",
}
"""cloud-netconfig's wiring: a timer, udev, and a setting that each of its runs reads."""


def make_executable(root: Path) -> None:
    """Without it NetworkManager's dispatcher does not run a script."""
    (root / "usr/lib/NetworkManager/dispatcher.d/90-nm-cloud-setup.sh").chmod(0o755)


def three(instance: LabInstance) -> None:
    """A primary ENI and two secondary ones in one subnet."""
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, device=1, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, device=2, ipv4=2, ipv6=2)


def rules_by_static(instance: LabInstance) -> list[str]:
    """Rules that systemd-networkd made of its files."""
    shown = "".join(instance.host.run(["ip", version, "rule"]).stdout for version in ("-4", "-6"))
    return [line for line in shown.splitlines() if line.endswith("proto static")]


def until_at_work(instance: LabInstance) -> None:
    """Until it has configured each ENI, a timer of each runs, and the managers are at rest."""

    def works() -> bool:
        running = [unit for unit in units(instance) if unit.split()[2] == "active"]
        return len(rules_by_static(instance)) >= 2 and len(running) == 6

    instance.host.wait_until(works, 90, "the routes of the predecessor")
    unreached = unconfigured(instance)
    instance.host.wait_until(
        lambda: {tick.address for tick in instance.unreachable(limit=1)} <= {*unreached}, 60
    )


def unconfigured(instance: LabInstance) -> list[object]:
    """Addresses that it does not configure: the second IPv6 address of each ENI."""
    return [eni.ipv6s[1] for eni in instance.vpc.enis]


def install_debians(root: Path) -> None:
    """Debian 12's own package. Raises ``LabUnavailable``."""
    script = TOP / "tests/lab/predecessor.sh"
    found = subprocess.run(
        [script, "--cached"], capture_output=True, text=True, check=False, timeout=30
    )
    if found.returncode != 0:
        raise LabUnavailable(found.stderr.strip())
    debs = sorted(Path(found.stdout.strip()).glob("*.deb"))
    for deb in debs:
        shutil.copy(deb, root / "tmp")
    inside = [f"/tmp/{deb.name}" for deb in debs]
    done = subprocess.run(
        ["chroot", root, "dpkg", "--install", *inside],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise LabUnavailable(f"dpkg --install: {done.stdout}{done.stderr}")
    rule, base = root / RULE, root / BASE
    rule.write_text(rule.read_text().replace("vif|ena|ixgbevf", "veth"))
    base.write_text(
        base.read_text()
        .replace("Driver=ena ixgbevf vif", "Driver=veth\nName=ens*")
        .replace("MTUBytes=9001", "")
    )
    short = root / "etc/systemd/system/refresh-policy-routes@.timer.d/short.conf"
    short.parent.mkdir(parents=True)
    short.write_text(_SHORT)


_FILES = """\
cd /run/systemd/network && find . | sort | while read -r path; do
    stat -c '%n %f %u %g' $path
    [ -L $path ] && readlink $path || { [ -f $path ] && sha256sum < $path; }
done
find /etc/systemd/system /etc/udev/rules.d -name '*policy*' -o -name '*nm-cloud*' -o -name '*netconfig*' |
    sort | xargs -r ls -ld
cd /run/NetworkManager/conf.d 2> /dev/null && sha256sum * /etc/default/cloud-netconfig
true
"""


def files(instance: LabInstance) -> str:
    """Names, modes, owners and bytes of every file where the tool, ec2net or a mask has one."""
    shown = instance.host.run(["sh", "-c", _FILES], check=False).stdout
    # A mask has the time of its making.
    return "\n".join(line for line in shown.splitlines() if "Nov" not in line or "->" not in line)


_UNITS = ("*policy-routes@*", "nm-cloud-setup.*", "cloud-netconfig*")


def units(instance: LabInstance) -> list[str]:
    """Its units that systemd has loaded, with their states, but for the service that a timer runs."""
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full"]
    shown = instance.host.run([*command, *_UNITS]).stdout
    rows = [line.split()[:3] for line in shown.splitlines()]
    rows = [row for row in rows if row[1:] != ["masked", "inactive"]]
    brief = ("refresh", "nm-cloud", "cloud-netconfig")
    return [" ".join(row) for row in rows if not row[0].startswith(brief) or "timer" in row[0]]


def state(instance: LabInstance) -> dict[str, list[str]]:
    """Rules, routes, files and units: the state that a migration changes."""
    kernel = rules_and_routes(instance.kernel())
    shown = instance.host.run(["ip", "-4", "-o", "addr"]).stdout.splitlines()
    own = {"ipv4": [" ".join(line.split()[1:4]) for line in shown]}
    return {**kernel, **own, "files": files(instance).splitlines(), "units": units(instance)}


def differs(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """The differences of the states; rules of one priority have no order."""
    return differences(_comparable(before), _comparable(after))


def _comparable(state: dict[str, list[str]]) -> dict[str, list[str]]:
    """NetworkManager 1.42 makes another link-local address at each Reapply."""
    lines_of = {
        key: [line for line in lines if not re.search(r'"dst": "fe80::\w+:', line)]
        for key, lines in state.items()
    }
    return {key: sorted(lines) for key, lines in lines_of.items()}
