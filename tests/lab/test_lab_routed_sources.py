# SPDX-License-Identifier: Apache-2.0
"""``routed`` and ``sources`` with a network manager: added, changed and removed at run time."""

import json
from ipaddress import ip_address
from typing import Any

import pytest
from containers import PUBLISHED, give, routed_container, seen_sources, source_check_off
from lab_host import LabHost
from lab_instance import LabInstance
from lab_sessions import Sessions

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Address, Attempt
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = [pytest.mark.lab, pytest.mark.first_setting]

VIP = ip_address("192.168.55.5")
CHAIN, IN_CHAIN = "10.77.0.0/24", ip_address("10.77.0.9")
"""A network that the host routes for, with one host in it."""
BRIDGED, CONTAINER = "172.18.0.0/16", ip_address("172.18.0.2")
"""A container network, which the host translates to an address of the ENI."""

_FILE = "/etc/ec2net/ec2net.toml.d/30-routed.toml"

_NAT = f"""
table ip nat_{{name}} {{{{
    chain prerouting {{{{
        type nat hook prerouting priority dstnat;
        ip daddr {{own}} tcp dport {PUBLISHED} dnat to {CONTAINER}:{echo.PORT}
    }}}}
    chain postrouting {{{{
        type nat hook postrouting priority srcnat;
        ip saddr {BRIDGED} oifname "{{name}}" snat to {{own}}
    }}}}
}}}}
"""


def configure(instance: LabInstance, **settings: list[str]) -> None:
    eni = instance.secondary
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    section = "\n".join(["[[eni]]", f'match = {{ mac = "{eni.mac}" }}', *lines, ""])
    instance.host.write(_FILE, section)
    instance.reconfigure()


def held(host: LabHost, eni: Eni) -> str:
    return host.run(["ip", "-o", "addr", "show", eni.name]).stdout


def document(host: LabHost, *command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run(["ec2net", *command, "--json"]).stdout)
    return found


def connections(instance: LabInstance, container: Namespace, mine: list[Address]) -> list[str]:
    """The sources that the far ends saw: out from each source, and in to each."""
    vpc, own = instance.vpc, instance.secondary.ipv4s[1]

    def outside(source: Address) -> Address:
        found = vpc.outside.address(source.version)
        assert found is not None
        return found

    out = [Attempt(source, outside(source)) for source in (*mine, IN_CHAIN, CONTAINER)]
    into = [Attempt(None, source) for source in (*mine, VIP, IN_CHAIN)]
    return [
        *seen_sources(container, *out),
        *seen_sources(vpc.guest, Attempt(VIP, outside(VIP))),
        *seen_sources(vpc.outside.namespace, *into, Attempt(None, own, PUBLISHED)),
    ]


def expected(instance: LabInstance, mine: list[Address]) -> list[str]:
    vpc = instance.vpc
    own = instance.secondary.ipv4s[1]
    clients = [vpc.outside.address(one.version) for one in (*mine, VIP, IN_CHAIN, own)]
    return [str(one) for one in (*mine, IN_CHAIN, own, VIP, *clients)]


def test_routed_and_sources_work_both_ways_and_change_without_a_gap(pair: LabInstance) -> None:
    """Connections from all other addresses stay open meanwhile, and the VPC drops no packet."""
    vpc, host, eni = pair.vpc, pair.host, pair.secondary
    mine: list[Address] = [eni.ipv4s[-1], eni.ipv6s[-1]]
    before, dropped = pair.kernel(), vpc.dropped()
    vpc.guest.nft(_NAT.format(name=eni.name, own=eni.ipv4s[1]))
    vpc.guest.ip([f"addr add {VIP}/32 dev lo"])
    with (
        routed_container(vpc) as container,
        source_check_off(vpc, eni, f"{VIP}/32", CHAIN),
        Sessions(vpc, vpc.enis, mine) as sessions,
    ):
        configure(pair, routed=list(map(str, mine)), sources=[BRIDGED, str(VIP), CHAIN])
        assert not any(str(one) in held(host, eni) for one in mine)
        give(vpc, container, *mine, IN_CHAIN, CONTAINER)
        assert connections(pair, container, mine) == expected(pair, mine)
        assert sessions.broken() == []
        assert document(host, "plan")["changes"] == []
        (row,) = [one for one in document(host, "status")["enis"] if one["mac"] == str(eni.mac)]
        assert len(row["intent"]["routed"]) == len(mine)
        assert len(row["intent"]["configured_sources"]) == 3
        for source in (*mine, VIP, IN_CHAIN, CONTAINER):
            story = document(host, "explain", str(source))
            assert f"dev {eni.name} by rule" in story["kernel"][0]
            assert story["wrong"] == []
        configure(pair, routed=[str(mine[0])], sources=[str(VIP), CHAIN])
        assert str(mine[1]) in held(host, eni)
        assert str(mine[0]) not in held(host, eni)
        first = seen_sources(container, Attempt(mine[0], vpc.outside.ipv4 or VIP))
        assert first == [str(mine[0])]
        assert sessions.broken() == []
        assert vpc.dropped() == dropped
        vpc.guest.ip([f"route del {one} dev box" for one in (*mine, IN_CHAIN, CONTAINER)])
        host.run(["rm", _FILE])
        pair.reconfigure()
        assert all(str(one) in held(host, eni) for one in mine)
        assert sessions.broken() == []
    vpc.guest.ip([f"addr del {VIP}/32 dev lo"])
    vpc.guest.nft(f"delete table ip nat_{eni.name}")
    assert pair.unreachable() == []
    assert pair.kernel()["rules 4"] == before["rules 4"]
