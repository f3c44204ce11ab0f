# SPDX-License-Identifier: Apache-2.0
"""The text of IMDS keys to types: the parts that the daemon remembers."""

import subprocess
import sys

import pytest

from ec2net.core.imds.parse import ipv4_address, ipv4_network, ipv6_address, ipv6_network, many

MANY_ANSWERS = """
import random
import ec2net.core.cli.commands.run  # as large as the manager
from ipaddress import IPv4Address
from ec2net.core.imds.parse import ipv4_address, many

chance = random.Random(14)
parse = many(ipv4_address)

def resident():
    return int(open("/proc/self/statm").read().split()[1])

def answers(number):
    for _ in range(number):
        lines = min(4000, int(chance.paretovariate(0.8) * 20))
        first = (10 << 24) + chance.randrange(2**23)
        parse("\\n".join(str(IPv4Address(first + line)) for line in range(lines)))

answers(20)
early = resident()
answers(1980)
print(early, resident())
"""


def test_memory_does_not_grow_with_valid_answers() -> None:
    """A host of 384 different answers made it grow from 32 to 177 MiB. Seed 14, 2000 answers."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_ANSWERS], capture_output=True, text=True, check=True
    )
    early, late = map(int, done.stdout.split())
    assert late <= 1.2 * early


def test_a_known_answer_is_not_parsed_again() -> None:
    parsed = []

    def parse(line: str) -> object:
        parsed.append(line)
        return ipv4_address(line)

    addresses = many(parse)
    assert addresses("10.0.0.4\n10.0.0.5") == addresses("10.0.0.4\n10.0.0.5")
    assert parsed == ["10.0.0.4", "10.0.0.5"]


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1"])
def test_an_ipv4_address_that_no_eni_can_have_is_garbage(text: str) -> None:
    for parse, line in ((ipv4_address, text), (ipv4_network, f"{text}/32")):
        with pytest.raises(ValueError, match="not an address that an ENI can have"):
            parse(line)


@pytest.mark.parametrize("text", ["::", "::1", "fe80:ec2::1", "ff02::1", "::ffff:10.0.0.4"])
def test_an_ipv6_address_that_no_eni_can_have_is_garbage(text: str) -> None:
    for parse, line in ((ipv6_address, text), (ipv6_network, f"{text}/128")):
        with pytest.raises(ValueError, match="not an address that an ENI can have"):
            parse(line)
