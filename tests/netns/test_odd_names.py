# SPDX-License-Identifier: Apache-2.0
"""Links with names that no terminal should get: every command works, and other ENIs are
configured."""

import os
from collections.abc import Callable, Iterator

import pytest
from instance import Instance, primary, subnets

from ec2net.core.kernel.session import Kernel
from ec2net.core.model.identity import OddName, link_name
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

NAMES = [b"\xff\xfe", b"a\x1b[2Jb", b"bell\x07", "x\u202ey".encode()]
ALTNAME = b"alt\xff\x1b[31m\xe2\x80\xaename"


@pytest.fixture
def odd(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """An ENI with each name, a bridge with one, an altname of any bytes, and one plain ENI."""
    with SimulatedVpc(prefix="odd-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        for raw in NAMES:
            eni = vpc.attach(second)
            ip(instance, "link", "set", eni.name, "name", os.fsdecode(raw))
        ip(instance, "link", "add", os.fsdecode(b"br\xff"), "type", "bridge")
        plain = vpc.attach(second, "ens99")
        ip(instance, "link", "property", "add", plain.name, "altname", os.fsdecode(ALTNAME))
        yield instance


def ip(instance: Instance, *arguments: str) -> None:
    instance.guest.run(["ip", *arguments]).check_returncode()


def test_link_names_are_read_to_the_last_byte(odd: Instance) -> None:
    def look() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        with Kernel(236) as kernel:
            return {link.name: link.altnames for link in kernel.links()}, kernel.names(["veth"])

    links, names = odd.guest.call(look)
    for raw in (*NAMES, b"br\xff"):
        assert os.fsdecode(raw) in links
        assert isinstance(link_name(raw), OddName)
    assert {os.fsdecode(raw) for raw in NAMES} < set(names)
    assert links["ens99"] == (os.fsdecode(ALTNAME),)


def test_each_odd_eni_is_refused_alone_and_every_command_works(odd: Instance) -> None:
    vpc = odd.vpc
    done = odd.ec2net("refresh", status=1)
    refused = [line for line in done.stderr.splitlines() if "rename the link" in line]
    assert len(refused) == len(NAMES)
    plain = vpc.enis[-1]
    assert plain.name == "ens99"
    assert odd.way("198.51.100.1", plain.ipv4s[0]) == "ens99"
    for arguments in (
        ("plan",),
        ("plan", "--json"),
        ("refresh", "--json"),
        ("refresh", "--verbose"),
        ("status",),
        ("status", "--json"),
        ("verify",),
        ("verify", "--json"),
        ("explain", "ens99"),
        ("doctor",),
        ("doctor", "--json"),
        ("backends",),
        ("record",),
    ):
        done = odd.ec2net(*arguments, status=None)
        assert "Traceback" not in done.stderr, arguments
        for text in (done.stdout, done.stderr):
            shown = text.replace("\n", "")
            assert shown.isprintable(), (arguments, ascii(shown))
    assert odd.ec2net("status", status=None).stdout.count("\\x1b[2J") > 0
