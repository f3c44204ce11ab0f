# SPDX-License-Identifier: Apache-2.0
"""Docker on a host with several ENIs: published ports, and containers that call the host."""

import json
import re
from pathlib import Path

import pytest
from containers import (
    CONTAINER,
    PUBLISHED,
    docker0,
    inside,
    publish,
    who_answers,
)
from instance import FAILING, MANY, Instance, primary, subnets
from manager import managed

from ec2net.core.simulation.vpc import echo
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.namespace import Namespace

pytestmark = pytest.mark.netns


@pytest.fixture
def enis(instance: Instance) -> tuple[Eni, Eni]:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, eni = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    return main, eni


def our_tables(guest: Namespace) -> list[str]:
    """The nftables tables of ec2net."""
    return re.findall(r'"(ec2net_\w+)"', guest.nft_json("list", "tables"))


def rules_in(guest: Namespace, name: str) -> list[str]:
    """The rules of a table, without their handles."""
    entries = json.loads(guest.nft_json("list", "table", "inet", name))["nftables"]
    return [json.dumps(entry["rule"]["expr"]) for entry in entries if "rule" in entry]


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
    """A limit of rules by source: the answer gets the host's address when its route is chosen."""
    vpc, (main, eni) = instance.vpc, enis
    with docker0(vpc):
        publish(vpc.guest)
        found = who_answers(vpc.outside.namespace, eni.ipv4s, PUBLISHED, FAILING)
        assert found == [""] * len(eni.ipv4s)
    assert {(drop.port, drop.source) for drop in vpc.drops()} == {
        (main.name, str(address)) for address in eni.ipv4s
    }


def test_with_published_ports_the_port_is_reached_on_a_secondary_too(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    vpc, (main, eni) = instance.vpc, enis
    peer = vpc.add_peer(eni.subnet)
    instance.configure("published_ports = true\n")
    with docker0(vpc):
        publish(vpc.guest)
        instance.ec2net("refresh")
        assert instance.refresh() == []
        for client in (vpc.outside, peer):
            for some in (eni.ipv4s, main.ipv4s):
                found = who_answers(client.namespace, some, PUBLISHED)
                assert found == [CONTAINER] * len(some)
                own = [str(address) for address in some]
                assert who_answers(client.namespace, own, echo.PORT) == own
    assert vpc.dropped() == 0


def test_flushed_rules_that_mark_answers_are_repaired(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    """``systemctl reload nftables`` does; an emptied table is no table either."""
    instance.configure("published_ports = true\n")
    instance.ec2net("refresh")
    (name,) = our_tables(instance.vpc.guest)
    whole = rules_in(instance.vpc.guest, name)
    assert len(whole) == 2
    for harm in ("flush ruleset", f"flush table inet {name}"):
        instance.vpc.guest.nft(harm)
        instance.ec2net("refresh")
        assert rules_in(instance.vpc.guest, name) == whole


def test_the_daemon_repairs_the_marking_rules_at_once(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    """By the kernel's event and not at the next poll, which does not happen here."""
    instance.configure("published_ports = true\n[resident]\npoll = 3600\nfast_for = 0.1\n")
    guest = instance.vpc.guest
    with managed(instance) as manager:
        manager.until_configured(2)
        (name,) = our_tables(guest)
        whole = rules_in(guest, name)
        assert len(whole) == 2
        for harm in ("flush ruleset", f"flush table inet {name}"):
            guest.nft(harm)
            took = manager.until(lambda: our_tables(guest) and rules_in(guest, name) == whole)
            print(f"repaired {took:.2f} s after nft {harm}")


def test_the_marking_rules_are_removed_with_the_setting_and_with_the_eni(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    """Foreign tables and marks stay."""
    vpc, (_, eni) = instance.vpc, enis
    vpc.guest.nft("table inet theirs { chain c { meta mark set 0x1; }; }")
    vpc.guest.ip(["rule add priority 9000 fwmark 0x200000/0xfff00000 lookup 10001"])
    before = instance.kernel()
    instance.configure("published_ports = true\n")
    instance.ec2net("refresh")
    assert len(our_tables(vpc.guest)) == 1
    instance.configure("")
    instance.ec2net("refresh")
    assert our_tables(vpc.guest) == []
    assert instance.kernel() == before
    instance.configure("published_ports = true\n")
    instance.ec2net("refresh")
    vpc.detach(eni)
    instance.ec2net("refresh")
    assert our_tables(vpc.guest) == []
    assert '"theirs"' in vpc.guest.nft_json("list", "tables")


def test_without_nft_everything_else_is_configured_and_the_gap_is_reported(
    instance: Instance, enis: tuple[Eni, Eni]
) -> None:
    instance.configure("published_ports = true\n")
    done = instance.ec2net("refresh", status=1, under=["/usr/bin/env", "PATH=/nowhere"])
    assert "nft cannot be run: No such file or directory" in done.stderr
    assert "install nft" in done.stderr
    assert any('"fwmark": "0x200000"' in rule for rule in instance.kernel()["rules 4"])
    # The error does not prevent any other change, then or later.
    enis[1].unassign_ipv4(enis[1].ipv4s[-1])
    done = instance.ec2net("refresh", status=1, under=["/usr/bin/env", "PATH=/nowhere"])
    assert "install nft" in done.stderr
    assert instance.plan()["changes"] != []  # the rules that mark answers
    instance.configure("")
    instance.ec2net("refresh", under=["/usr/bin/env", "PATH=/nowhere"])
    assert not any("fwmark" in rule for rule in instance.kernel()["rules 4"])
    assert instance.plan()["changes"] == []


def test_a_table_that_cannot_be_removed_keeps_the_rule_that_reveals_it(
    instance: Instance, enis: tuple[Eni, Eni], tmp_path: Path
) -> None:
    """Otherwise no later pass would search for it."""
    instance.configure("published_ports = true\n")
    instance.ec2net("refresh")
    broken = tmp_path / "nft"
    broken.write_text('#!/bin/sh\ncase "$1" in delete*) exit 1;; esac\nexec /usr/sbin/nft "$@"\n')
    broken.chmod(0o755)
    instance.configure("")
    instance.ec2net("refresh", status=1, under=["/usr/bin/env", f"PATH={tmp_path}:/usr/bin:/bin"])
    assert any("fwmark" in rule for rule in instance.kernel()["rules 4"])
    assert len(our_tables(instance.vpc.guest)) == 1
    instance.ec2net("refresh")
    assert our_tables(instance.vpc.guest) == []
    assert not any("fwmark" in rule for rule in instance.kernel()["rules 4"])


@pytest.mark.parametrize("routing", ["main-first", "strict"])
def test_a_container_reaches_the_addresses_of_the_host_and_the_outside(
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
