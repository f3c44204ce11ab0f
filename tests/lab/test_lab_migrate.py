# SPDX-License-Identifier: Apache-2.0
"""A host that amazon-ec2-net-utils configures is handed over while it runs.

What that tool writes and starts is as in 2.7.4, by a script of this test.
"""

import pytest
from kernel_state import marked
from lab_boot import Boot
from lab_instance import LabInstance

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd")]

BASE = "/usr/lib/systemd/network/80-ec2.network"

SCRIPT = """\
#!/bin/sh
# setup-policy-routes LINK: the files of one ENI, once.
set -e
place=/run/systemd/network/70-$1.network
[ -e $place.d ] && exit 0
mkdir -p $place.d
ln -s /usr/lib/systemd/network/80-ec2.network $place
mac=$(cat /sys/class/net/$1/address)
n=$([ $1 = ens5 ] && echo 0 || echo 1)
address=$([ $1 = ens5 ] && echo 10.0.16.5 || echo 10.0.32.5)
cat > $place.d/eni.conf <<END
[Match]
MACAddress=$mac
[Network]
DHCP=yes
[DHCPv4]
RouteMetric=$((512 + n))
UseRoutes=true
UseGateway=true
[IPv6AcceptRA]
RouteMetric=$((512 + n))
UseGateway=true
[Route]
Table=$((10000 + n))
Gateway=_dhcp4
END
printf '[Address]\\nAddress=%s/32\\nAddPrefixRoute=false\\n' $address > $place.d/ec2net_alias.conf
[ $n = 0 ] || printf '[RoutingPolicyRule]\\nFrom=%s\\nPriority=10001\\nTable=10001\\n' \\
    $address > $place.d/ec2net_policy_4.conf
networkctl reload
"""

FILES = {
    BASE: "[Match]\nDriver=veth\nName=ens*\n[Network]\nDHCP=yes\nIPv6DuplicateAddressDetection=0\n",
    "/usr/bin/setup-policy-routes": SCRIPT,
    "/usr/lib/systemd/system/policy-routes@.service": (
        "[Unit]\nAfter=systemd-networkd.service\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=sh /usr/bin/setup-policy-routes %i\n"
        "[Install]\nAlso=refresh-policy-routes@%i.timer\n"
    ),
    "/usr/lib/systemd/system/refresh-policy-routes@.service": (
        "[Service]\nType=oneshot\nExecStart=sh /usr/bin/setup-policy-routes %i\n"
    ),
    "/usr/lib/systemd/system/refresh-policy-routes@.timer": (
        "[Timer]\nOnActiveSec=1\nOnUnitInactiveSec=1\nAccuracySec=100ms\n"
        "[Install]\nWantedBy=timers.target\n"
    ),
    "/usr/lib/udev/rules.d/99-vpc-policy-routes.rules": (
        'SUBSYSTEM=="net", ACTION=="add", ENV{ID_NET_DRIVER}=="veth", NAME=="ens*",'
        ' RUN+="/usr/bin/systemctl enable --now --no-block policy-routes@%k.service"\n'
    ),
}

MIGRATE = ("ec2net", "migrate", "--from", "amazon-ec2-net-utils")


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, device=1, ipv4=2, ipv6=2)


def their_files(instance: LabInstance) -> list[str]:
    found = instance.host.run(["find", "/run/systemd/network", "-path", "*/70-*"]).stdout.split()
    ours = [
        path
        for path in found
        if "ec2net" in instance.host.run(["head", "-1", path], check=False).stdout
    ]
    return sorted(set(found) - set(ours))


def rules_by_static(instance: LabInstance) -> list[str]:
    """Rules that systemd-networkd made of its files."""
    return [
        line
        for line in instance.host.run(["ip", "rule"]).stdout.splitlines()
        if line.endswith("proto static")
    ]


def test_a_running_host_is_handed_over(boot: Boot) -> None:
    """G-b: its installation was a one-way street. The plan comes first and changes nothing; a unit
    of its that goes off meanwhile writes nothing any more."""
    with boot(before=two, files=FILES, complete=False) as instance:
        host = instance.host
        units = ["policy-routes@ens5.service", "policy-routes@ens6.service"]
        host.run(["systemctl", "enable", "--now", *units])
        host.wait_until(lambda: "10.0.32.5/32" in host.run(["ip", "addr"]).stdout, 60, "its work")
        refused = host.run(["ec2net", "refresh"], check=False)
        assert "amazon-ec2-net-utils" in refused.stderr
        assert marked(instance.kernel()) == []
        assert rules_by_static(instance) == ["10001:\tfrom 10.0.32.5 lookup 10001 proto static"]
        theirs = their_files(instance)
        assert len(theirs) == 9
        planned = host.run([*MIGRATE]).stdout
        for path in theirs:
            assert f"delete {path}\n" in planned
        assert "With --apply they are done." in planned

        def plan_changes_nothing() -> bool:
            before = instance.kernel(), their_files(instance)
            host.run([*MIGRATE])
            return (instance.kernel(), their_files(instance)) == before

        # A lease may come in the middle of one; with their reloads, networkd 252 may be without for long.
        host.wait_until(plan_changes_nothing, 60, "a plan that changes nothing")
        assert their_files(instance) == theirs

        done = host.run([*MIGRATE, "--apply"], timeout=120)
        assert "rm /etc/udev/rules.d/99-vpc-policy-routes.rules" in done.stdout
        assert their_files(instance) == []
        instance.complete()
        assert instance.unreachable() == []
        assert rules_by_static(instance) == []
        assert host.run([*MIGRATE]).stdout == "Nothing is left of it.\n"
        # A link that comes starts nothing of it any more.
        instance.attach("ens20", ipv4=2)
        instance.complete()
        assert their_files(instance) == []
        # A script that knows its command alone goes on, by one link.
        host.run(["ln", "-s", "/usr/lib/ec2net/setup-policy-routes", "/usr/local/bin/"])
        theirs_by_ours = "/usr/local/bin/setup-policy-routes"
        for verb in ("start", "refresh", "stop"):
            host.run([theirs_by_ours, "ens20", verb])
        refused = host.run([theirs_by_ours, "ens20", "remove"], check=False)
        assert "the resident manager would configure ens20 again" in refused.stderr
        assert instance.unreachable() == []
