# SPDX-License-Identifier: Apache-2.0
"""Listings of keys that are read at other times than the keys (the daemon's passes)."""

from collections.abc import Iterator

import pytest
from imds_server import MACS, PRIMARY, SECOND, ImdsServer, eni, running, status

from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.reader import Listings, outdated, read_facts
from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Unknown, Value
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.deadline import Deadline

pytestmark = pytest.mark.library

FIRST, OTHER = Mac(PRIMARY), Mac(SECOND)
OF_OTHER = f"{MACS}{SECOND}/"


class Manager:
    """One process that makes pass after pass."""

    def __init__(self, server: ImdsServer, client: ImdsClient) -> None:
        self.server = server
        self.client = client
        self.known: dict[Mac, EniFacts] = {}
        self.listings: Listings = {}

    def poll(self) -> ImdsFacts:
        self.client.new_pass()
        self.server.requests.clear()
        facts = read_facts(
            self.client, (FIRST, OTHER), self.known, FIRST, Deadline(20, "a poll"), self.listings
        )
        self.known.update((one.mac, one) for one in facts.enis)
        return facts

    def other(self) -> EniFacts:
        return next(one for one in self.poll().enis if one.mac == OTHER)

    def outdated(self) -> frozenset[Mac]:
        self.client.new_pass()
        self.server.requests.clear()
        return outdated(self.client, self.listings, Deadline(20, "listings"))

    @property
    def asked(self) -> list[str]:
        return [path for _, path in self.server.requests]


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


@pytest.fixture
def manager(server: ImdsServer) -> Iterator[Manager]:
    with ImdsClient(server.candidates) as client:
        yield Manager(server, client)


def test_a_poll_reads_only_the_keys(manager: Manager) -> None:
    first = manager.poll()
    assert set(manager.listings) == {FIRST, OTHER}
    assert manager.poll() == first
    assert manager.asked == [MACS, f"{MACS}{PRIMARY}/local-ipv4s", f"{OF_OTHER}local-ipv4s"]


def test_reading_the_listings_finds_a_new_key(server: ImdsServer, manager: Manager) -> None:
    manager.poll()
    assert manager.outdated() == frozenset()
    assert manager.asked == [f"{MACS}{PRIMARY}/", OF_OTHER]
    server.tree |= eni(SECOND, 1, ipv4_prefix="10.0.1.64/28")
    assert manager.other().ipv4_prefixes == Absent()
    assert manager.outdated() == {OTHER}
    assert isinstance(manager.other().ipv4_prefixes, Value)
    assert f"{OF_OTHER}ipv4-prefix" in manager.asked


def test_a_removed_key_has_its_listing_read_at_once(server: ImdsServer, manager: Manager) -> None:
    server.tree |= eni(SECOND, 1, ipv4_prefix="10.0.1.64/28")
    assert isinstance(manager.other().ipv4_prefixes, Value)
    server.tree.pop(f"{OF_OTHER}ipv4-prefix")
    assert manager.other().ipv4_prefixes == Absent()
    assert OF_OTHER in manager.asked
    manager.poll()
    assert f"{OF_OTHER}ipv4-prefix" not in manager.asked


def test_the_listing_of_an_eni_that_is_not_read_completely_is_not_kept(
    server: ImdsServer, manager: Manager
) -> None:
    """The ENI may be incomplete: its missing keys appear without any sign."""
    server.faults[f"{OF_OTHER}local-ipv4s"] = status(500)
    assert isinstance(manager.other().local_ipv4s, Unknown)
    assert set(manager.listings) == {FIRST}
    del server.faults[f"{OF_OTHER}local-ipv4s"]
    manager.poll()
    assert OF_OTHER in manager.asked


def test_an_unreadable_listing_keeps_its_last_value(server: ImdsServer, manager: Manager) -> None:
    manager.poll()
    server.faults[OF_OTHER] = status(503)
    assert manager.outdated() == frozenset()
    assert set(manager.listings) == {FIRST, OTHER}


def test_an_eni_that_imds_no_longer_lists_is_read(server: ImdsServer, manager: Manager) -> None:
    manager.poll()
    for path in [path for path in server.tree if path.startswith(OF_OTHER)]:
        server.tree.pop(path)
    facts = manager.poll()
    assert [one.mac for one in facts.enis] == [FIRST]
    assert OF_OTHER in manager.asked
    assert set(manager.listings) == {FIRST}
