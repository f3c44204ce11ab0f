# SPDX-License-Identifier: Apache-2.0
"""amazon-ec2-net-utils on lab hosts: Debian's 2.3 itself, and test units wired like 2.7.4's.

The lab's links are veth, so the real rule and the real .network file get that driver.
"""

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
#!/bin/sh
# nm-cloud-setup's work, for two links: addresses, a rule and a route in the applied connection.
set -eu
setup() { # LINK, its second address and the gateway
    ip -4 rule | grep -q "from $2 lookup 30400" && return
    nmcli device modify $1 +ipv4.addresses $2/24 +ipv4.routes "0.0.0.0/0 $3 10 table=30400" \\
        +ipv4.routing-rules "priority 30400 from $2 table 30400"
}
setup ens5 10.0.1.5 10.0.1.1
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
        "ExecStart=sh /usr/libexec/nm-cloud-setup\n"
        "[Install]\nWantedBy=NetworkManager.service\nAlso=nm-cloud-setup.timer\n"
    ),
    "/usr/lib/systemd/system/nm-cloud-setup.timer": (
        "[Timer]\nOnBootSec=2\nOnUnitActiveSec=2\nAccuracySec=100ms\n"
        "[Install]\nWantedBy=timers.target\n"
    ),
    "/usr/lib/NetworkManager/dispatcher.d/90-nm-cloud-setup.sh": _DISPATCHER,
    "/etc/systemd/system-preset/10-nm-cloud-setup.preset": (
        "enable nm-cloud-setup.service\nenable nm-cloud-setup.timer\n"
    ),
}
"""nm-cloud-setup's wiring: a timer, NetworkManager's Wants=, and a script of its dispatcher."""


def make_executable(root: Path) -> None:
    """Without it NetworkManager's dispatcher does not run a script."""
    (root / "usr/lib/NetworkManager/dispatcher.d/90-nm-cloud-setup.sh").chmod(0o755)


def three(instance: LabInstance) -> None:
    """A primary ENI and two secondary ones in one subnet."""
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, device=1, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, device=2, ipv4=2, ipv6=2)


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
find /etc/systemd/system /etc/udev/rules.d -name '*policy*' | sort | xargs -r ls -ld
"""


def files(instance: LabInstance) -> str:
    """Names, modes, owners and bytes of every file where the tool, ec2net or a mask has one."""
    shown = instance.host.run(["sh", "-c", _FILES], check=False).stdout
    # A mask has the time of its making.
    return "\n".join(line for line in shown.splitlines() if "Nov" not in line or "->" not in line)


def units(instance: LabInstance) -> list[str]:
    """Its units that systemd has loaded, with their states, but for the service that a timer runs."""
    command = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full"]
    shown = instance.host.run([*command, "*policy-routes@*"]).stdout
    rows = [line.split()[:3] for line in shown.splitlines()]
    return [" ".join(row) for row in rows if not row[0].startswith("refresh") or "timer" in row[0]]


def state(instance: LabInstance) -> dict[str, list[str]]:
    """Rules, routes, files and units: the state that a migration changes."""
    kernel = rules_and_routes(instance.kernel())
    return {**kernel, "files": files(instance).splitlines(), "units": units(instance)}


def differs(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """The differences of the states; rules of one priority have no order."""
    return differences(
        {key: sorted(lines) for key, lines in before.items()},
        {key: sorted(lines) for key, lines in after.items()},
    )
