# SPDX-License-Identifier: Apache-2.0
"""Something is lost: a reload, the process, a DHCP answer, an event. The next pass makes up for it."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab_boot import Boot
from lab_instance import MANY, LabInstance, udev_stopped

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd")]

NETWORKCTL = """\
#!/bin/sh
if [ "$1" = reload ]; then
    [ ! -e /run/lost-reload ] || exit 1
    if rm /run/lost-process 2>/dev/null; then kill -KILL $PPID; exit 1; fi
fi
exec /usr/bin/networkctl.real "$@"
"""

NO_DHCP = """\
table bridge no_dhcp {
    chain requests {
        type filter hook prerouting priority -300
        udp dport 67 drop
    }
}
"""


@pytest.fixture(scope="module")
def lone(boot: Boot) -> Iterator[LabInstance]:
    """A host with its primary ENI, where a reload can be made to fail."""
    with boot() as instance:
        instance.host.run(["mv", "/usr/bin/networkctl", "/usr/bin/networkctl.real"])
        instance.host.run(
            ["sh", "-c", "cat >/usr/bin/networkctl; chmod 755 /usr/bin/networkctl"],
            input=NETWORKCTL,
        )
        yield instance


@contextmanager
def no_dhcp(instance: LabInstance) -> Iterator[None]:
    """DHCPv4 requests get no answer."""
    instance.vpc.router.nft(NO_DHCP)
    try:
        yield
    finally:
        instance.vpc.router.nft("delete table bridge no_dhcp\n")


def gone(instance: LabInstance, name: str) -> None:
    """Detach it, and wait until its unit is gone."""
    eni = next(eni for eni in instance.vpc.enis if eni.name == name)
    instance.vpc.detach(eni)
    instance.until_unit(name, "inactive")
    instance.refresh()


def ipv4s(instance: LabInstance, link: str) -> list[str]:
    """In the kernel's order."""
    found = instance.host.ip("-4", "addr", "show", "dev", link)
    return [info["local"] for entry in found for info in entry.get("addr_info", ())]


def made_up_for(instance: LabInstance, eni: Eni) -> None:
    """networkd has read the file after one pass; the lease may be later than a pass waits."""
    instance.host.ec2net("refresh", check=False)
    assert "unread file" not in instance.host.ec2net("plan").stdout
    instance.complete(eni)


def test_a_lost_reload_is_repeated(lone: LabInstance) -> None:
    """The file is correct, but networkd has not read it: reported, and read in the next pass (an
    older version never configured the ENI)."""
    cursor = lone.host.cursor()
    lone.host.run(["touch", "/run/lost-reload"])
    eni = lone.attach("ens20", **MANY)
    lone.host.wait_for_message("networkctl reload failed", 60, since=cursor)
    lone.host.wait_for_message(
        "ens20.network (state unmanaged), which it has not", 60, since=cursor
    )
    assert lone.host.ec2net("refresh", check=False).returncode == 1
    assert "unread file /run/systemd/network/70-ens20.network" in lone.host.ec2net("plan").stdout
    lone.host.run(["rm", "/run/lost-reload"])
    made_up_for(lone, eni)
    assert len(lone.configured("ens20", cursor)) == 1
    assert lone.refresh() == ""
    gone(lone, "ens20")


def test_a_kill_before_the_reload_is_recovered(lone: LabInstance) -> None:
    """The next pass also deletes a temporary file of a killed write (R25)."""
    cursor = lone.host.cursor()
    lone.host.run(["touch", "/run/lost-process"])
    eni = lone.attach("ens21", **MANY)
    lone.host.wait_for_message("status=9/KILL", 60, since=cursor)
    assert "/run/systemd/network/70-ens21.network" in lone.files()
    lone.host.write("/run/systemd/network/.ec2net-killed", "")
    made_up_for(lone, eni)
    assert lone.refresh() == ""
    assert not [name for name in lone.files() if "killed" in name]
    gone(lone, "ens21")


def test_a_late_lease_is_awaited(lone: LabInstance) -> None:
    """IMDS answers completely at once, DHCP 2 s later: no ENI is refused, and the leased address is
    first."""
    cursor = lone.host.cursor()
    with no_dhcp(lone):
        eni = lone.attach("ens22", **MANY)
        time.sleep(2)  # long after IMDS was read
        assert ipv4s(lone, "ens22") == []
    lone.complete(eni)
    assert ipv4s(lone, "ens22") == [str(address) for address in eni.ipv4s]
    said = [e.message for e in lone.host.journal(since=cursor) if e.identifier == "ec2net"]
    assert [line for line in said if "nvalid" in line or "no lease" in line] == []
    gone(lone, "ens22")


def test_a_missing_lease_delays_no_other_eni(lone: LabInstance) -> None:
    """The other ENI has its new address at once. The ENI without a lease gets everything that does
    not depend on the lease, and ec2net reports the missing address. IPv6 works meanwhile."""
    cursor = lone.host.cursor()
    with no_dhcp(lone):
        eni = lone.attach("ens23", **MANY)
        lone.host.wait_until(
            lambda: len(lone.host.ip("-6", "rule", "show")) > 3, 60, "rules of ens23"
        )
        address = lone.primary.assign_ipv4()
        done = lone.host.ec2net("refresh", check=False)
        assert done.returncode == 1
        assert f"ens23: its first address {eni.ipv4s[0]} got no lease" in done.stderr
        assert str(address) in ipv4s(lone, "ens5")
        assert ipv4s(lone, "ens23") == []
        assert [t for t in lone.unreachable(eni) if ":" in str(t.address)] == []
        # The pass waits 1 s for the lease, once, and has time left for everything else.
        waits = re.findall(r"got no lease within ([\d.]+) s", done.stderr)
        assert [float(seconds) <= 1 for seconds in waits] == [True], done.stderr
        assert "did not end within" not in done.stderr
    lone.complete(eni)
    assert ipv4s(lone, "ens23") == [str(a) for a in eni.ipv4s]
    assert not [e for e in lone.host.journal(since=cursor) if "Failed with result" in e.message]
    lone.primary.unassign_ipv4(address)
    gone(lone, "ens23")


@pytest.mark.parametrize("name", ["ens24", "lan-24"])
def test_a_lost_event_is_recovered(lone: LabInstance, name: str) -> None:
    """R23: udev was stopped when the ENI was attached, and no trigger follows. One pass of the
    timer repairs that."""
    with udev_stopped(lone):
        eni = lone.attach(name, **MANY)
        lone.host.wait_until(lambda: bool(lone.host.ip("link", "show", name)), 60)
    began = time.monotonic()
    if lone.setting.resident:  # the pass continues by itself when the link exists
        lone.until_well()  # udev may be busy after its start: the next poll reads again
    else:
        lone.host.run(["systemctl", "start", "ec2net-refresh.service"])
    took = lone.complete(eni)
    print(
        f"{lone.setting}: {name} usable {time.monotonic() - began:.1f} s ({took:.1f}) after a pass"
    )
    assert lone.refresh() == ""
    gone(lone, name)


def test_a_networkd_that_is_stopped_temporarily_keeps_its_links(lone: LabInstance) -> None:
    """networkd deletes its state of links when it stops. A pass meanwhile, such as one after a
    restart that removes routes, gave the links to the netlink backend, and no client renewed the
    leases."""
    host, before = lone.host, lone.files()
    host.run(["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"])
    try:
        done = host.ec2net("refresh", check=False)
        assert done.returncode == 1
        assert "systemd-networkd: is not running" in done.stderr
        assert (
            "systemd-networkd is not running now, but keeps ens5" in host.ec2net("backends").stdout
        )
    finally:
        host.run(["systemctl", "start", "systemd-networkd.service"])
    host.wait_until(lambda: lone.setting.has_configured(host, "ens5"), 60, "configured again")
    lone.complete()
    name = "/run/systemd/network/70-ens5.network"
    assert lone.files()[name] == before[name]
    assert lone.refresh() == ""
    assert "systemd-networkd manages ens5" in host.ec2net("backends").stdout
