# SPDX-License-Identifier: Apache-2.0
"""When ec2net acts at a boot, and when the boot goes on."""

from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import link

from ec2net.core.config.settings import Config
from ec2net.core.engine import first_address
from ec2net.core.engine.first_address import Boot, FirstAddress
from ec2net.core.state.last_pass import mark
from ec2net.core.state.run_dir import RunDir


class Machine:
    """The addresses of a host with two ENIs, as an engine sees them."""

    def __init__(self, run: Path) -> None:
        self.addresses = {("fe80::1", 0), ("169.254.7.7", 0)}
        """Addresses, each with the number of its ENI."""
        kernel = SimpleNamespace(
            links=lambda: (link(0), link(1)),
            address_states=lambda _: [
                SimpleNamespace(link=link(n), interface=ip_interface(text))
                for text, n in self.addresses
            ],
        )
        self.engine: Any = SimpleNamespace(kernel=kernel, run=RunDir(run), config=Config())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def first(machine: Machine) -> FirstAddress:
    return FirstAddress(machine.engine)


def test_an_ipv4_address_is_the_first_one(machine: Machine) -> None:
    """Nothing can ask IMDS from a link-local one, nor with that of another ENI."""
    machine.addresses.add(("10.0.2.4", 1))
    assert not first(machine).is_given(0.0)
    machine.addresses.add(("10.0.1.4", 0))
    assert first(machine).is_given(0.0)


def test_an_ipv6_address_alone_counts_if_no_ipv4_address_follows(machine: Machine) -> None:
    """IMDS does not answer by IPv6 by default, and the question would take longer than a lease."""
    machine.addresses.add(("2001:db8::4", 0))
    waiting = first(machine)
    assert not waiting.is_given(7.0)
    assert not waiting.is_given(7.0 + first_address.IPV6_ALONE / 2)
    assert waiting.is_given(7.0 + first_address.IPV6_ALONE)


def test_without_an_address_the_boot_acts_after_five_seconds(machine: Machine) -> None:
    boot = Boot(machine.engine, 100.0)
    assert not boot.due(100.0)
    assert 100.0 < boot.next <= 100.2
    assert not boot.due(104.9)
    assert boot.due(105.0)


def test_a_pass_follows_each_address_at_once_and_other_news_after_a_share(machine: Machine) -> None:
    boot = Boot(machine.engine, 100.0)
    machine.addresses.add(("10.0.1.4", 0))
    assert boot.due(100.3)
    boot.retry(101.3, 0.1, 0.2)
    assert boot.next == pytest.approx(101.5)
    assert not boot.due(101.4)
    boot.stir(101.4)
    assert boot.due(101.4)


def test_an_address_after_the_first_pass_causes_the_next_one(machine: Machine) -> None:
    boot = Boot(machine.engine, 100.0)
    assert boot.due(105.0)
    boot.retry(105.2, 0.1, 0.2)
    assert not boot.is_imds_late(120.0)
    machine.addresses.add(("10.0.1.4", 0))
    assert boot.due(120.0)
    assert not boot.is_imds_late(120.1)


def test_a_restart_waits_for_no_address(machine: Machine) -> None:
    mark(machine.engine.run)
    boot = Boot(machine.engine, 100.0)
    assert boot.due(100.0)
    assert boot.is_imds_late(100.0 + first_address.IMDS_SECONDS)


def test_imds_has_a_second_from_the_first_address(machine: Machine) -> None:
    """A dead IMDS delays the boot by less than 2 s."""
    boot = Boot(machine.engine, 100.0)
    assert not boot.is_imds_late(104.0)
    machine.addresses.add(("10.0.1.4", 0))
    assert boot.due(104.0)
    assert boot.imds_seconds(104.0) == first_address.IMDS_SECONDS
    assert boot.imds_seconds(105.1) == first_address.LEAST_IMDS_SECONDS
    assert not boot.is_imds_late(104.9)
    assert boot.is_imds_late(104.0 + first_address.IMDS_SECONDS)
