# SPDX-License-Identifier: Apache-2.0
"""Which addresses and prefixes a simulated subnet hands out."""

import random
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

import pytest

from ec2net.core.model.errors import UsageError
from ec2net.core.model.identity import Mac
from ec2net.core.simulation.vpc.subnet import Subnet


def subnet(ipv4: str, seed: int | None) -> Subnet:
    return Subnet(
        "subnet-1",
        "subnet1",
        Mac("02:00:00:00:00:01"),
        IPv4Network(ipv4),
        IPv6Network("2001:db8::/64"),
        None if seed is None else random.Random(seed),
    )


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_no_address_repeats_until_all_were_assigned(seed: int | None) -> None:
    """Prefixes end in the half of the addresses, and addresses between the prefixes."""
    one = subnet("10.0.1.0/25", seed)
    prefixes = [one.allot_ipv4_prefix() for _ in range(6)]
    taken = list(prefixes)
    with suppress(UsageError):
        taken += (IPv4Network(one.allot_ipv4()) for _ in range(128))
    with pytest.raises(UsageError, match="no IPv4 address is left"):
        one.allot_ipv4()
    assert sum(n.num_addresses for n in collapse_addresses(taken)) == sum(
        n.num_addresses for n in taken
    )
    assert not {ip_network(f"10.0.1.{n}") for n in (0, 1, 2, 3, 127)} & set(taken)


def test_random_addresses_are_not_adjacent() -> None:
    """Adjacent addresses collapse into few rules, which hides the cost of a host."""
    counts = {}
    for seed in (None, 1):
        one = subnet("10.0.0.0/16", seed)
        addresses = [IPv4Network(one.allot_ipv4()) for _ in range(50)]
        counts[seed] = len(list(collapse_addresses(addresses)))
    assert counts[None] < 8
    assert counts[1] > 45


@pytest.mark.parametrize("seed", [None, 1])
def test_a_small_subnet_has_no_prefix(seed: int | None) -> None:
    one = subnet("10.0.1.0/27", seed)
    one.allot_ipv4()
    with pytest.raises(UsageError, match="no IPv4 prefix is left"):
        one.allot_ipv4_prefix()
