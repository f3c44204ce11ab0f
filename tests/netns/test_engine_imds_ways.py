# SPDX-License-Identifier: Apache-2.0
"""ec2net finds IMDS on any route that works, and remembers that route (R19)."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import assert_same

from ec2net.core.simulation.vpc.imds_faults import Fault, OnlyFrom
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns

UNPROVEN = 1.0
"""Seconds that the remembered route has for its first answer. The search has 2 s, and fails the
pass if they do not suffice: 3 s in all."""


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with SimulatedVpc(prefix="ways-") as vpc:
        instance = install(vpc)
        first, second = subnets(vpc, 2)
        primary(vpc, first)
        vpc.attach(second, **MANY)
        vpc.attach(second, **MANY)
        instance.ec2net("refresh")
        yield instance


def only_from(settled: Instance, link: str) -> Fault:
    (eni,) = (eni for eni in settled.vpc.enis if eni.name == link)
    return settled.vpc.imds_only_through(eni)


@contextmanager
def way(settled: Instance, name: str) -> Iterator[None]:
    """Only this route leads to IMDS; every other one is silent or refuses."""
    vpc, imds = settled.vpc, settled.imds
    links = [eni.name for eni in vpc.enis]
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    match name.split():
        case ["only", link] if link in links:
            with imds.fault(only_from(settled, link)):
                yield
        case ["only", version, "by", link]:
            (eni,) = (eni for eni in vpc.enis if eni.name == link)
            held = frozenset(a for a in eni.addresses() if a.version == int(version[-1]))
            with imds.fault(Fault(OnlyFrom(held))):
                yield
        case ["silent", version]:
            vpc.silence_imds(int(version[-1]))
            try:
                yield
            finally:
                vpc.unsilence_imds()
        case ["refused", version]:
            imds.kill_endpoint(families[int(version[-1])])
            try:
                yield
            finally:
                imds.revive_endpoint(families[int(version[-1])])
        case _:
            raise ValueError(name)


WAYS = (
    "only ens5",
    "only ens6",
    "only ens7",
    "only ipv6 by ens5",
    "only ipv4 by ens7",
    "only ipv6 by ens7",
    "silent ipv4",
    "refused ipv4",
    "silent ipv6",
    "refused ipv6",
)


def waited(said: str) -> float:
    """The seconds that the program gave to unanswered requests, from its log."""
    bounds = re.findall(r"is dropped: .* did not end within ([\d.]+) s", said)
    return sum(map(float, bounds))


@pytest.mark.parametrize("name", WAYS)
def test_the_only_route_to_imds_is_found_and_remembered(settled: Instance, name: str) -> None:
    """ENU#117: a default route that does not lead to IMDS. Started with each earlier route that
    worked."""
    before = settled.kernel()
    with way(settled, name):
        said = settled.ec2net("refresh", "-v").stderr
        assert "again, with the saved token" in said or "new token" in said
        assert waited(said) <= UNPROVEN
        settled.imds.clear_log()
        said = settled.ec2net("refresh", "-v").stderr
        assert "used again, with the saved token" in said
        assert waited(said) == 0
        # No request used another route, and no other token was requested.
        assert {logged.status for logged in settled.imds.requests} == {200}
        assert settled.imds.count(method="PUT") == 0
    assert_same(before, settled.kernel())


def test_a_new_address_is_configured_whatever_the_route_to_imds(settled: Instance) -> None:
    vpc, eni = settled.vpc, settled.vpc.enis[1]
    with way(settled, "only ens7"):
        address = eni.assign_ipv4()
        settled.ec2net("refresh")
        assert settled.unreachable(*vpc.enis) == []
        eni.unassign_ipv4(address)
        settled.ec2net("refresh")


def test_a_primary_without_a_default_route_does_not_stop_a_pass(settled: Instance) -> None:
    """Main was flushed: the ENIs' tables still lead to IMDS."""
    shown = settled.guest.run(["ip", "route", "show", "dev", "ens5"]).stdout.splitlines()
    routes = sorted(shown, key=lambda line: line.startswith("default"))
    before = settled.kernel()
    settled.guest.ip(["route flush table main"])
    try:
        # The primary's own traffic is lost, and a refresh reports that.
        assert "should leave through ens5" in settled.ec2net("refresh", status=1).stderr
        assert settled.unreachable(*settled.vpc.enis[1:]) == []
    finally:
        settled.guest.ip([f"route add {line} dev ens5" for line in routes])
    settled.ec2net("refresh")
    assert_same(before, settled.kernel())


def test_only_the_endpoint_in_the_environment_is_used(settled: Instance) -> None:
    """Like AWS's SDKs; ec2net tries no other endpoint, even if this one does not answer."""
    settled.imds.clear_log()
    endpoint = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]"}
    settled.ec2net("refresh", env=endpoint)
    assert {logged.source.version for logged in settled.imds.requests} == {6}
    settled.imds.clear_log()
    settled.ec2net("refresh", env={"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4"})
    assert {logged.source.version for logged in settled.imds.requests} == {4}
    settled.imds.clear_log()
    wrong = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://imds.example/"}
    done = settled.ec2net("refresh", env=wrong, status=2)
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" in done.stderr
    assert settled.imds.requests == ()


def test_proxies_are_ignored(settled: Instance) -> None:
    """SUSE bsc#1187939, aws-xray-daemon#255: a proxy swallowed the metadata."""
    (settled.run_dir / "imds-token.json").unlink()
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")
    settled.imds.clear_log()
    settled.ec2net("refresh", env=dict.fromkeys(names, "http://192.0.2.80:3128"))
    assert len(settled.imds.requests) > 5
