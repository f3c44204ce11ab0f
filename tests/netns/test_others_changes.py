# SPDX-License-Identifier: Apache-2.0
"""Foreign removals are reported once, and explained; with ``observe`` they are only reported."""

import json
from pathlib import Path
from typing import Any

import pytest
from instance import Instance, below_run, primary, subnets
from kernel_state import KernelEvents
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

SOMEBODY = "drift: "
RULE = "rule 10001: from 10.0.2.4/31 lookup 10001"
TAKE_RULE = "rule del priority 10001 from 10.0.2.4/31"
DEFAULT = "route default via 10.0.2.1 dev ens6 table 10001"
OBSERVE = '[[eni]]\nmatch = { role = "secondary" }\nmanage = "observe"\n'


@pytest.fixture
def pair(instance: Instance) -> tuple[Eni, Eni]:
    first, second = subnets(instance.vpc, 2)
    enis = primary(instance.vpc, first), instance.vpc.attach(second, ipv4=2, ipv6=1)
    instance.ec2net("refresh")
    return enis


def told(instance: Instance, *, status: int = 0) -> list[str]:
    """A refresh's lines about foreign changes, and about their end."""
    said = instance.ec2net("refresh", status=status).stderr.splitlines()
    return [line for line in said if SOMEBODY in line or "resolved" in line]


def story(instance: Instance, what: str = "ens6") -> list[dict[str, Any]]:
    document = json.loads(instance.ec2net("explain", what, "--json").stdout)
    found: list[dict[str, Any]] = document["drift"]
    return found


def test_a_foreign_removal_is_reported_once_and_explained(
    instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    _, eni = pair
    assert story(instance) == []
    instance.guest.ip([TAKE_RULE, "addr del 10.0.2.5/32 dev ens6"])
    (line,) = told(instance)
    assert f"ens6: {SOMEBODY}" in line
    assert f"{RULE} is missing" in line
    assert "address 10.0.2.5/32 dev ens6 is missing" in line
    assert "repaired (changed outside of ec2net; the kernel does not record by whom)" in line
    before = instance.files()
    assert told(instance) == []
    assert instance.files() == before
    assert "explain" not in instance.ec2net("status").stdout

    instance.guest.ip([TAKE_RULE, "addr del 10.0.2.5/32 dev ens6"])
    assert told(instance) == []
    (drift,) = story(instance, "10.0.2.5")
    assert (drift["times"], drift["open"], drift["repair"]) == (2, False, "repaired")
    assert drift["noticed"] <= drift["last"]
    shown = instance.ec2net("explain", "ens6").stdout
    assert f"drift (changes outside of ec2net):\n  {drift['noticed']}, 2 times until" in shown
    assert "(2 times, last " in instance.ec2net("status").stdout

    eni.unassign_ipv4(eni.ipv4s[1])  # a change in IMDS is no foreign removal
    eni.assign_ipv4()
    instance.ec2net("refresh")
    instance.configure('[[eni]]\nmatch = { name = "ens6" }\nmtu = 1400\nrouting = "strict"\n')
    assert told(instance) == []
    instance.ec2net("remove", "ens6")
    assert told(instance) == []
    assert len(story(instance)) == 1
    assert story(instance, "ens5") == []


def test_the_report_names_the_known_author(instance: Instance, pair: tuple[Eni, Eni]) -> None:
    instance.guest.ip(["link set ens6 down"])
    with below_run("systemd/network/70-eks-ens6.network"):
        (line,) = told(instance)
    assert "ens6 was set down, which removed its routes" in line
    assert "nodeadm (EKS): /run/systemd/network/70-eks-ens6.network exists" in line
    assert "link ens6 up is missing" not in line
    assert "link ens6 up differs (link ens6 down)" in line


def test_a_conflict_stays_reported_until_it_ends(instance: Instance, pair: tuple[Eni, Eni]) -> None:
    instance.guest.ip(
        [
            "route del default table 10001",
            "route add default via 10.0.2.9 dev ens6 onlink table 10001 proto static",
        ]
    )
    (line,) = told(instance, status=1)
    assert "the object in its place has protocol 4 (static)" in line
    assert "not repaired, see 'ec2net status'" in line
    before = instance.files()
    assert told(instance, status=1) == []
    assert instance.files() == before
    assert story(instance)[0]["open"] is True
    instance.guest.ip(["route del default table 10001"])
    (line,) = told(instance)
    assert f"{DEFAULT} src 10.0.2.4: a foreign object" in line
    assert ": repaired" in line
    (drift,) = story(instance)
    assert (drift["open"], drift["repair"]) == (False, "repaired")


def test_an_observed_eni_is_only_reported(
    instance: Instance, pair: tuple[Eni, Eni], tmp_path: Path
) -> None:
    instance.configure(OBSERVE)
    assert told(instance) == []
    instance.guest.ip([TAKE_RULE])
    with KernelEvents(instance.guest) as events:
        (line,) = told(instance)
        assert f'{RULE} is missing: not repaired (manage = "observe")' in line
        before = instance.files()
        assert told(instance) == []
        assert instance.files() == before
        assert events.taken() == []
    prom = tmp_path / "metrics/ec2net.prom"
    instance.configure(f'metrics_file = "{prom}"\n{OBSERVE}')
    assert told(instance) == []
    samples = set(prom.read_text().splitlines())
    quiet = ("drift", "pending_changes", "open_findings", "addresses_missing")
    assert {f"ec2net_{name} 0" for name in quiet} <= samples
    assert {"ec2net_observed_differences 1", 'ec2net_enis{standing="observed"} 1'} <= samples
    shown = instance.ec2net("status").stdout
    assert f'! ens6: {RULE} is missing: not repaired (manage = "observe")' in shown
    assert f"! ens6: {RULE} is missing" in instance.ec2net("verify", status=4).stdout
    explained = instance.ec2net("explain", "ens6").stdout
    assert f'different, but left unchanged (manage = "observe"):\n  + {RULE}\n' in explained
    assert "drift (changes outside of ec2net):\n" in explained

    instance.guest.ip(["route del 10.0.2.0/24 table 10001"])
    (line,) = told(instance)
    assert "route 10.0.2.0/24 dev ens6 table 10001 src 10.0.2.4 is missing" in line
    instance.guest.ip(
        [
            "route add 10.0.2.0/24 dev ens6 table 10001 src 10.0.2.4",
            "rule add priority 10001 from 10.0.2.4/31 lookup 10001",
        ]
    )
    (line,) = told(instance)
    assert "resolved: " in line
    assert "is missing" not in instance.ec2net("status").stdout
    instance.ec2net("verify")

    instance.guest.ip(
        [
            "route del default table 10001",
            "route add default via 10.0.2.9 dev ens6 onlink table 10001 proto static",
        ]
    )
    (line,) = told(instance)
    assert "protocol 4 (static)" in line


def test_the_daemon_only_reports_on_an_observed_eni(
    instance: Instance, pair: tuple[Eni, Eni]
) -> None:
    instance.configure(OBSERVE)
    _, eni = pair
    with managed(instance) as manager, KernelEvents(instance.guest) as events:
        manager.until(lambda: manager.states().get(str(eni.mac)) == "observed")
        instance.guest.ip([TAKE_RULE])
        manager.until(lambda: SOMEBODY in manager.log())
        assert manager.poke()["changes"] == []
        assert manager.states()[str(eni.mac)] == "observed"
        assert manager.log().count(SOMEBODY) == 1
        assert len(events.taken()) == 1  # of the foreign removal
        assert f"! ens6: {RULE} is missing: not repaired" in instance.ec2net("status").stdout
