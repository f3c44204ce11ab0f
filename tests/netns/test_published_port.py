# SPDX-License-Identifier: Apache-2.0
"""Docker on a host with several ENIs: published ports, and containers that call the host."""

import pytest
from containers import (
    CONTAINER,
    PUBLISHED,
    docker0,
    inside,
    publish,
    told_in_the_document,
    who_answers,
)
from instance import FAILING, MANY, Instance, primary, subnets

from ec2net.core.vpc import echo
from ec2net.core.vpc.eni import Eni

pytestmark = pytest.mark.netns


@pytest.fixture
def enis(instance: Instance) -> tuple[Eni, Eni]:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, eni = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    return main, eni


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
        container = inside(vpc)
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
