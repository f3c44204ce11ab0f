# SPDX-License-Identifier: Apache-2.0
"""Docker on a host with several ENIs: published ports, and containers that call the host."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import pytest
from containers import CONTAINER, PUBLISHED, docker0, publish
from instance import CHECK_SECONDS, FAILING, MANY, Instance, primary, subnets

from ec2net.core.vpc import echo
from ec2net.core.vpc.connections import Answer, Attempt, connect_all
from ec2net.core.vpc.eni import Eni
from ec2net.core.vpc.namespace import Namespace

pytestmark = pytest.mark.netns

ROUTING = Path(__file__).parents[2] / "docs/routing.md"


def who_answers(
    client: Namespace, hosts: Iterable[object], port: int, timeout: float = CHECK_SECONDS
) -> list[str]:
    """The address that the far end of each connection has; empty if none came about."""
    attempts = [Attempt(None, ip_address(str(host)), port) for host in hosts]
    found = connect_all(client, attempts, timeout)
    return [str(answer.local) if isinstance(answer, Answer) else "" for answer in found]


@pytest.fixture
def enis(instance: Instance) -> tuple[Eni, Eni]:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, eni = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    return main, eni


def told_in_the_document() -> tuple[str, list[str]]:
    """The nft script, and the commands beside it."""
    section = ROUTING.read_text().partition("## Containers with published ports")[2]
    section = section.partition("\n## ")[0]
    scripts = re.findall(r"^```nft\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
    return "".join(scripts), re.findall(r"^# ip (.*)$", section, flags=re.MULTILINE)


def test_a_published_port_is_reached_on_every_address_of_the_primary(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    vpc, (main, _) = instance.vpc, enis
    peer = vpc.add_peer(main.subnet)
    with docker0(vpc):
        publish(vpc.guest)
        for client in (vpc.outside, peer):
            found = who_answers(client.namespace, main.ipv4s, PUBLISHED)
            assert found == [CONTAINER] * len(main.ipv4s)
    assert vpc.dropped() == 0


def test_a_published_port_on_a_secondary_is_answered_by_the_primary(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    """A limit of rules by source: the answer gets the host's address when its way is chosen."""
    vpc, (main, eni) = instance.vpc, enis
    with docker0(vpc):
        publish(vpc.guest)
        found = who_answers(vpc.outside.namespace, eni.ipv4s, PUBLISHED, FAILING)
        assert found == [""] * len(eni.ipv4s)
    assert {(drop.port, drop.source) for drop in vpc.drops()} == {
        (main.name, str(address)) for address in eni.ipv4s
    }


def test_with_what_the_document_tells_a_published_port_is_reached_on_a_secondary_too(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    vpc, (main, eni) = instance.vpc, enis
    peer = vpc.add_peer(eni.subnet)
    script, commands = told_in_the_document()
    with docker0(vpc):
        publish(vpc.guest)
        vpc.guest.nft(script)
        vpc.guest.ip(commands)
        rules = instance.kernel()["rules 4"]
        assert instance.refresh() == []
        assert instance.kernel()["rules 4"] == rules
        for client in (vpc.outside, peer):
            for some in (eni.ipv4s, main.ipv4s):
                found = who_answers(client.namespace, some, PUBLISHED)
                assert found == [CONTAINER] * len(some)
    assert vpc.dropped() == 0


@pytest.mark.parametrize("routing", ["main-first", "strict"])
def test_a_container_reaches_the_hosts_addresses_and_the_outside(
    instance: Instance, enis: tuple[Eni, Eni], routing: str
) -> None:
    """In strict mode a secondary's answer leaves by its ENI, although the bridge is next to it."""
    vpc, (main, eni) = instance.vpc, enis
    instance.configure(f'routing = "{routing}"\n')
    instance.ec2net("refresh")
    with docker0(vpc):
        publish(vpc.guest)
        container = Namespace("container")
        own = [str(address) for address in main.ipv4s]
        assert who_answers(container, own, echo.PORT) == own
        outside = [vpc.outside.ipv4]
        assert who_answers(container, outside, echo.PORT) == [str(vpc.outside.ipv4)]
        assert vpc.dropped() == 0
        own = [str(address) for address in eni.ipv4s]
        if routing == "main-first":
            assert who_answers(container, own, echo.PORT) == own
            assert vpc.dropped() == 0
        else:
            assert who_answers(container, own, echo.PORT, FAILING) == [""] * len(own)
