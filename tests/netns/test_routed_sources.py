# SPDX-License-Identifier: Apache-2.0
"""Containers with an ENI's address (``routed``) and sources that IMDS does not list (``sources``)."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from containers import (
    CONTAINER,
    docker0,
    give,
    inside,
    routed_container,
    seen_sources,
    source_check_off,
)
from instance import MANY, Instance, primary, subnets
from lab_sessions import Sessions

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.connections import Attempt
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = pytest.mark.netns

VIP = "192.168.55.5"


@pytest.fixture
def eni(instance: Instance) -> Eni:
    """A secondary in a separate subnet."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    return instance.vpc.attach(second, **MANY)


@pytest.fixture
def container(instance: Instance) -> Iterator[Namespace]:
    """Behind a link of the host that is no ENI."""
    with routed_container(instance.vpc) as made:
        yield made


def destination(instance: Instance, version: int) -> IPv4Address | IPv6Address:
    """A host outside of the VPC."""
    found = instance.vpc.outside.address(version)
    assert found is not None
    return found


def test_a_container_can_have_single_addresses_of_an_eni(
    instance: Instance, eni: Eni, container: Namespace
) -> None:
    instance.ec2net("refresh")
    mine = (eni.ipv4s[-1], eni.ipv6s[-1])
    assert all(str(address) in instance.guest.run(["ip", "addr"]).stdout for address in mine)
    instance.configure(
        f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nrouted = ["{mine[0]}/32", "{mine[1]}"]\n'
    )
    instance.ec2net("refresh")
    assert not any(str(one) in instance.guest.run(["ip", "addr"]).stdout for one in mine)
    give(instance.vpc, container, *mine)
    outside = instance.vpc.outside
    out = [Attempt(one, destination(instance, one.version), echo.PORT) for one in mine]
    assert seen_sources(container, *out) == [str(one) for one in mine]
    into = [Attempt(None, one, echo.PORT) for one in mine]
    clients = [str(destination(instance, one.version)) for one in mine]
    assert seen_sources(outside.namespace, *into) == clients
    assert instance.vpc.dropped() == 0
    assert instance.plan()["changes"] == []
    told = instance.ec2net("explain", str(mine[0])).stdout
    assert "intended rules" in told
    (shown,) = [one for one in instance.status().values() if one["mac"] == str(eni.mac)]
    assert shown["intent"]["routed"] == [f"{mine[0]}/32", f"{mine[1]}/128"]
    instance.configure()
    instance.ec2net("refresh")
    assert all(str(address) in instance.guest.run(["ip", "addr"]).stdout for address in mine)


def test_a_container_network_leaves_through_the_configured_eni(
    instance: Instance, eni: Eni
) -> None:
    vpc = instance.vpc
    with docker0(vpc):
        instance.guest.sysctl({"net/ipv4/ip_forward": "1"})
        instance.guest.nft(
            "table ip nat { chain postrouting { type nat hook postrouting priority srcnat;"
            f' ip saddr 172.17.0.0/16 oifname "{eni.name}" snat to {eni.ipv4s[1]}; }}; }}'
        )
        instance.configure(
            f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["172.17.0.0/16"]\n'
        )
        instance.ec2net("refresh")
        to = Attempt(None, destination(instance, 4), echo.PORT)
        assert seen_sources(inside(vpc), to) == [str(eni.ipv4s[1])]
        local = Attempt(None, ip_address(CONTAINER), echo.PORT)
        assert seen_sources(instance.guest, local) == ["172.17.0.1"]
        assert "from 172.17.0.0/16 lookup 10001" in instance.ec2net("explain", CONTAINER).stdout
    assert vpc.dropped() == 0


CHAIN, IN_CHAIN = "10.77.0.0/24", ip_address("10.77.0.9")
"""A network that the host routes for, with one host in it."""


@pytest.mark.exhaustive
def test_a_service_chain_works_and_all_settings_change_without_a_gap(
    instance: Instance, eni: Eni, container: Namespace
) -> None:
    """tests/lab/test_lab_routed_sources.py has the same with network managers."""
    instance.ec2net("refresh")
    vpc, outside = instance.vpc, instance.vpc.outside
    mine = eni.ipv4s[-1]
    section = f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\n'
    with (
        source_check_off(vpc, eni, VIP, CHAIN),
        Sessions(vpc, vpc.enis, [mine]) as sessions,
    ):
        for settings in (
            f'routed = ["{mine}"]\nsources = ["{CHAIN}"]\n',
            f'sources = ["{VIP}", "{CHAIN}"]\n',
        ):
            instance.configure(section + settings)
            instance.ec2net("refresh")
            assert (str(mine) in instance.guest.run(["ip", "addr"]).stdout) is (
                "routed" not in settings
            )
            if "routed" in settings:
                give(vpc, container, IN_CHAIN)
            out = Attempt(IN_CHAIN, destination(instance, 4), echo.PORT)
            assert seen_sources(container, out) == [str(IN_CHAIN)]
            into = Attempt(None, IN_CHAIN, echo.PORT)
            assert seen_sources(outside.namespace, into) == [str(outside.ipv4)]
            assert sessions.broken() == []
        instance.configure()
        instance.ec2net("refresh")
        assert sessions.broken() == []
    assert vpc.dropped() == 0


def test_a_vip_that_imds_does_not_list_leaves_through_its_eni(instance: Instance, eni: Eni) -> None:
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["{VIP}"]\n')
    instance.ec2net("refresh")
    instance.guest.ip([f"addr add {VIP}/32 dev lo"])
    assert instance.way("198.51.100.1", VIP) == eni.name
    with source_check_off(instance.vpc, eni, VIP):
        outside = destination(instance, 4)
        out = Attempt(ip_address(VIP), outside, echo.PORT)
        assert seen_sources(instance.guest, out) == [VIP]
        into = Attempt(None, ip_address(VIP), echo.PORT)
        assert seen_sources(instance.vpc.outside.namespace, into) == [str(outside)]
    instance.ec2net("refresh")
    assert VIP in instance.guest.run(["ip", "addr", "show", "lo"]).stdout
    instance.configure()
    instance.ec2net("refresh")
    assert instance.way("198.51.100.1", VIP) != eni.name


def test_a_wrong_source_is_reported_with_its_remedy(instance: Instance, eni: Eni) -> None:
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["10.0.0.0/8"]\n')
    said = instance.ec2net("plan", status=None)
    assert '"sources" contains 10.0.0.0/8' in said.stdout + said.stderr
    assert "remove it from the setting" in said.stdout + said.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ('manage = "ignore"', 'the configuration sets manage = "ignore", so'),
        ('manage = "no-rules"', 'the setting "sources" has no effect on an ENI without rules'),
        ('routing = "off"', 'the setting "sources" has no effect on an ENI without rules'),
    ],
)
def test_sources_of_an_eni_without_rules_are_refused_with_the_reason(
    instance: Instance, eni: Eni, policy: str, said: str
) -> None:
    instance.configure(f'[[eni]]\nmatch = {{ mac = "{eni.mac}" }}\nsources = ["{VIP}"]\n{policy}\n')
    (planned,) = [one for one in instance.plan()["enis"] if one["mac"] == str(eni.mac)]
    assert planned["standing"] == "refused"
    assert said in planned["reason"]
    for command in ("refresh", "status"):
        done = instance.ec2net(command, status=1)
        assert said in done.stdout + done.stderr
    assert said in instance.ec2net("explain", eni.name).stdout
