# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from imds_server import (
    MACS,
    META,
    PRIMARY,
    SECOND,
    ImdsServer,
    eni,
    in_turn,
    raw,
    running,
    status,
    times,
)

from ec2net.core.imds.client import ImdsClient
from ec2net.core.imds.reader import find_primary, read_facts
from ec2net.core.imds.unread import unread
from ec2net.core.model.errors import ImdsError
from ec2net.core.model.facts import Absent, EniFacts, ImdsFacts, Reading, Unknown, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.runtime.deadline import Deadline

pytestmark = pytest.mark.library

FIRST_MAC, SECOND_MAC = Mac(PRIMARY), Mac(SECOND)
BOTH = (FIRST_MAC, SECOND_MAC)
OF_SECOND = f"{MACS}{SECOND}/"
THIRD = "06:00:00:00:00:03"


@pytest.fixture
def server() -> Iterator[ImdsServer]:
    with running() as imds:
        yield imds


class Reader:
    """Passes one after the other, like a program's: each has the results of earlier ones."""

    def __init__(self, server: ImdsServer) -> None:
        self.server = server
        self.client = ImdsClient(server.candidates)
        self.known: dict[Mac, EniFacts] = {}
        self.primary: Mac | None = None

    def __call__(self, *wanted: Mac) -> ImdsFacts:
        self.client.new_pass()
        self.server.requests.clear()
        return read_facts(
            self.client, wanted or BOTH, self.known, self.primary, Deadline(20, "the test")
        )

    def remember(self, facts: ImdsFacts) -> None:
        self.known.update((one.mac, one) for one in facts.enis)
        if isinstance(facts.primary, Value):
            self.primary = facts.primary.value

    def second(self) -> EniFacts:
        return self(SECOND_MAC).enis[0]


@pytest.fixture
def read(server: ImdsServer) -> Iterator[Reader]:
    reader = Reader(server)
    with reader.client:
        yield reader


def why(reading: Reading[object]) -> str:
    assert isinstance(reading, Unknown), reading
    return reading.reason


def test_a_first_read_asks_for_every_key(server: ImdsServer, read: Reader) -> None:
    server.tree |= eni(
        SECOND,
        1,
        network_card="1",
        local_ipv4s="10.0.1.10\n10.0.1.9\n10.0.1.10",
        ipv6s="2001:db8::2\n2001:db8::1\n",
        ipv4_prefix="10.0.1.64/28",
        ipv6_prefix="2001:db8:0:0:1::/80",
        subnet_ipv6_cidr_blocks="2001:db8::/64",
        security_groups="x",
    )
    facts = read()
    assert facts.primary == Value(FIRST_MAC)
    assert facts.listed == Value(BOTH)
    assert facts.enis == (
        EniFacts(
            FIRST_MAC,
            Value(EniId("eni-00000000")),
            Value(0),
            Absent(),
            Value((IPv4Address("10.0.0.10"),)),
            Absent(),
            Absent(),
            Absent(),
            Value(IPv4Network("10.0.0.0/24")),
            Absent(),
        ),
        EniFacts(
            SECOND_MAC,
            Value(EniId("eni-00000001")),
            Value(1),
            Value(1),
            Value((IPv4Address("10.0.1.10"), IPv4Address("10.0.1.9"))),
            Value((IPv6Address("2001:db8::2"), IPv6Address("2001:db8::1"))),
            Value((IPv4Network("10.0.1.64/28"),)),
            Value((IPv6Network("2001:db8:0:0:1::/80"),)),
            Value(IPv4Network("10.0.1.0/24")),
            Value((IPv6Network("2001:db8::/64"),)),
        ),
    )


def test_a_steady_pass_repeats_no_key_and_reads_no_immutable_one(
    server: ImdsServer, read: Reader
) -> None:
    server.tree |= eni(SECOND, 1, ipv4_prefix="10.0.1.64/28")
    first = read()
    read.remember(first)
    assert len(server.requests) == len(set(server.requests))
    read.remember(read())
    again = read()
    assert again == first
    assert server.requests == [
        ("GET", path)
        for path in (
            MACS,
            f"{MACS}{PRIMARY}/",
            f"{MACS}{PRIMARY}/local-ipv4s",
            OF_SECOND,
            f"{OF_SECOND}local-ipv4s",
            f"{OF_SECOND}ipv4-prefix",
        )
    ]


def test_stale_immutable_keys_are_not_read_again(server: ImdsServer, read: Reader) -> None:
    for _ in range(2):
        read.remember(read())
    known = read.known[SECOND_MAC]
    assert isinstance(known.interface_id, Value)
    read.known[SECOND_MAC] = replace(
        known, interface_id=replace(known.interface_id, stale=True), device_number=Value(1, True)
    )
    assert read.second().interface_id == known.interface_id
    assert f"{OF_SECOND}interface-id" not in server.paths()


IMMUTABLE = ("interface-id", "device-number", "network-card", "subnet-ipv4-cidr-block")


def test_immutable_keys_are_read_in_two_passes(server: ImdsServer, read: Reader) -> None:
    """A value that was heard once, and wrongly, stood for as long as the ENI was attached."""
    server.tree |= eni(SECOND, 1, network_card="1")
    for times_read in (1, 1, 0):
        read.remember(read(SECOND_MAC))
        asked = [server.paths().count(f"{OF_SECOND}{key}") for key in IMMUTABLE]
        assert asked == [times_read] * 4


@pytest.mark.parametrize(
    ("key", "lie", "name"),
    [
        ("network-card", "2", "network_card"),
        ("device-number", "5", "device_number"),
        ("interface-id", "eni-0000000f", "interface_id"),
        ("subnet-ipv4-cidr-block", "10.0.0.0/16", "subnet_ipv4"),
    ],
)
def test_an_immutable_key_that_was_wrong_once_is_corrected(
    server: ImdsServer, read: Reader, key: str, lie: str, name: str
) -> None:
    server.tree |= eni(SECOND, 1, network_card="1")
    right = getattr(read.second(), name)
    server.faults[f"{OF_SECOND}{key}"] = times(1, status(200, lie))
    read.remember(read(SECOND_MAC))
    assert getattr(read.known[SECOND_MAC], name) != right
    read.remember(read(SECOND_MAC))
    assert getattr(read.known[SECOND_MAC], name) == right
    read.remember(read(SECOND_MAC))
    read(SECOND_MAC)
    assert f"{OF_SECOND}{key}" not in server.paths()


def test_an_immutable_key_that_is_wrong_later_changes_nothing(
    server: ImdsServer, read: Reader
) -> None:
    """Neither an answer that IMDS does not repeat, nor one that cannot be read."""
    read.remember(read(SECOND_MAC))
    for fault in (times(1, status(200, "5")), status(500)):
        server.faults[f"{OF_SECOND}device-number"] = fault
        facts = read(SECOND_MAC)
        assert facts.enis[0].device_number == Value(1)
        assert unread(facts) == ()


def test_immutable_keys_stay_when_nothing_can_be_read(server: ImdsServer, read: Reader) -> None:
    read.remember(read())
    server.faults[OF_SECOND] = status(400)
    facts = read.second()
    before = read.known[SECOND_MAC]
    assert (facts.interface_id, facts.device_number) == (before.interface_id, Value(1))
    assert (facts.network_card, facts.subnet_ipv4) == (Absent(), before.subnet_ipv4)
    for reading in (facts.local_ipv4s, facts.ipv6s, facts.ipv4_prefixes, facts.subnet_ipv6):
        assert "HTTP 400" in why(reading)


# Absent


def test_a_removed_key_is_read_again(server: ImdsServer, read: Reader) -> None:
    server.tree |= eni(SECOND, 1, ipv4_prefix="10.0.1.64/28")
    read.remember(read())
    del server.tree[f"{OF_SECOND}ipv4-prefix"]
    assert read.second().ipv4_prefixes == Absent()
    assert f"{OF_SECOND}ipv4-prefix" in server.paths()
    read.remember(read())
    assert read.second().ipv4_prefixes == Absent()
    assert f"{OF_SECOND}ipv4-prefix" not in server.paths()


def test_a_key_that_its_listing_omits_is_found(server: ImdsServer, read: Reader) -> None:
    read.remember(read())
    server.listings[OF_SECOND] = "device-number\nmac"
    assert read.second().local_ipv4s == Value((IPv4Address("10.0.1.10"),))
    server.faults[f"{OF_SECOND}local-ipv4s"] = status(400)
    assert why(read.second().local_ipv4s) == "HTTP 400"


def test_a_key_that_is_listed_and_missing_is_absent(server: ImdsServer, read: Reader) -> None:
    server.listings[OF_SECOND] = "device-number\nlocal-ipv4s\nipv6s\nipv4-associations/"
    facts = read.second()
    assert why(facts.ipv6s) == "ipv6s is listed, but IMDS answers 404"
    assert facts.local_ipv4s == Value((IPv4Address("10.0.1.10"),))


def test_an_eni_that_is_not_listed_is_absent(server: ImdsServer, read: Reader) -> None:
    server.listings[MACS] = PRIMARY + "/"
    assert [one.mac for one in read().enis] == [FIRST_MAC]
    assert OF_SECOND not in server.paths()


def test_an_eni_that_is_no_longer_listed_is_read_again(server: ImdsServer, read: Reader) -> None:
    read.remember(read())
    server.listings[MACS] = PRIMARY + "/"
    assert read().enis[1] == read.known[SECOND_MAC]  # the listing lied
    server.faults[OF_SECOND] = status(400)
    assert isinstance(read().enis[1].local_ipv4s, Unknown)
    del server.faults[OF_SECOND]
    server.tree = {path: text for path, text in server.tree.items() if SECOND not in path}
    assert [one.mac for one in read().enis] == [FIRST_MAC]


def test_without_the_listing_each_eni_is_read(server: ImdsServer, read: Reader) -> None:
    server.faults[MACS] = status(400)
    facts = read()
    assert why(facts.listed) == "HTTP 400"
    assert facts.enis[1].local_ipv4s == Value((IPv4Address("10.0.1.10"),))
    # One 404 is not enough to lose an ENI.
    server.faults[OF_SECOND] = status(404)
    assert "404" in why(read().enis[1].local_ipv4s)


@pytest.mark.parametrize(
    "body", ["", "\n", "<html>", "garbage", PRIMARY + "/\nx", "404 - Not Found"]
)
def test_invalid_listings_are_unknown(server: ImdsServer, read: Reader, body: str) -> None:
    read.remember(read())
    server.faults[MACS] = status(200, body)
    server.faults[OF_SECOND] = status(200, body)
    facts = read()
    assert isinstance(facts.listed, Unknown)
    assert facts.enis[0] == read.known[FIRST_MAC]
    assert facts.enis[1].interface_id == Value(EniId("eni-00000001"))
    for reading in (facts.enis[1].local_ipv4s, facts.enis[1].ipv6s, facts.enis[1].ipv4_prefixes):
        assert isinstance(reading, Unknown)


def test_an_unreadable_mac_leaves_the_primary_unknown(server: ImdsServer, read: Reader) -> None:
    for code in (404, 400):
        server.faults[META + "mac"] = status(code)
        facts = read()
        assert isinstance(facts.primary, Unknown)
        # The primary is not known, so its 0 cannot be believed either.
        assert {type(one.device_number) for one in facts.enis} == {Unknown, Value}


# Lists that lose something

LIST = f"{OF_SECOND}local-ipv4s"


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        pytest.param("10.0.1.10", "10.0.1.10", "10.0.1.10", id="the same twice: it is news"),
        pytest.param("10.0.1.10", None, "10.0.1.10 10.0.1.11", id="a lie"),
        pytest.param(
            "10.0.1.11",
            "10.0.1.10\n10.0.1.11\n10.0.1.12",
            "10.0.1.10 10.0.1.11 10.0.1.12",
            id="growing",
        ),
        pytest.param("10.0.1.10", "10.0.1.11", "", id="two lies"),
        pytest.param("10.0.1.10", "<html>", "", id="garbage after a lie"),
    ],
)
def test_a_shorter_list_is_believed_after_a_second_read(
    server: ImdsServer, read: Reader, first: str, second: str | None, result: str
) -> None:
    """Half a list is as well-formed as a whole one; an absence has two witnesses as well."""
    server.tree[LIST] = "10.0.1.10\n10.0.1.11"
    read.remember(read())
    answers = [status(200, text) for text in (first, second) if text is not None]
    server.faults[LIST] = in_turn(*answers)
    reading = read.second().local_ipv4s
    assert server.paths().count(LIST) == 2
    if result:
        assert reading == Value(tuple(map(IPv4Address, result.split())))
    else:
        assert isinstance(reading, Unknown)


@pytest.mark.parametrize("text", ["10.0.1.11\n10.0.1.10", "10.0.1.10\n10.0.1.11\n10.0.1.12"])
def test_a_list_that_loses_nothing_is_read_once(
    server: ImdsServer, read: Reader, text: str
) -> None:
    server.tree[LIST] = "10.0.1.10\n10.0.1.11"
    read.remember(read())
    server.tree[LIST] = text
    read.second()
    assert server.paths().count(LIST) == 1


# Numbers


def test_a_device_number_that_is_not_propagated_yet_is_pending(
    server: ImdsServer, read: Reader
) -> None:
    server.tree[f"{OF_SECOND}device-number"] = "0"
    for _ in range(2):
        facts = read()
        assert why(facts.enis[1].device_number) == "device-number not propagated yet"
        assert facts.enis[1].network_card == Absent()
        read.remember(facts)
    server.tree |= eni(SECOND, 1, network_card="0", device_number="0")
    read.remember(read())
    assert isinstance(read.known[SECOND_MAC].device_number, Unknown)
    # Not even a remembered 0 is believed, and the card is read until all facts are complete.
    read.known[SECOND_MAC] = replace(read.known[SECOND_MAC], device_number=Value(0))
    server.tree |= eni(SECOND, 1, network_card="1", device_number="0")
    read.remember(read())
    assert read.known[SECOND_MAC].network_card == Value(1)
    assert read.known[SECOND_MAC].device_number == Value(0)
    read.remember(read())
    read()
    assert f"{OF_SECOND}device-number" not in server.paths()
    assert f"{OF_SECOND}network-card" not in server.paths()


def test_a_network_card_that_is_listed_late_is_read(server: ImdsServer, read: Reader) -> None:
    read.remember(read())
    assert read.known[SECOND_MAC].network_card == Absent()
    server.tree |= eni(SECOND, 1, network_card="1")
    assert read.second().network_card == Value(1)


def test_a_device_number_that_is_not_listed_or_fails_is_unknown(
    server: ImdsServer, read: Reader
) -> None:
    server.faults[f"{OF_SECOND}device-number"] = status(400)
    assert why(read.second().device_number) == "HTTP 400"
    server.tree |= eni(SECOND, 1, network_card="2", device_number="0")
    del server.faults[f"{OF_SECOND}device-number"]
    server.faults[f"{OF_SECOND}network-card"] = status(400)
    assert isinstance(read.second().network_card, Unknown)
    assert isinstance(read.second().device_number, Unknown)
    del server.tree[f"{OF_SECOND}device-number"]
    assert why(read.second().device_number) == "device-number not listed yet"


# The primary


def test_the_numbers_of_the_primary_are_read_in_two_passes(
    server: ImdsServer, read: Reader
) -> None:
    server.tree |= eni(PRIMARY, 0, network_card="0")
    facts = read(FIRST_MAC)
    assert facts.primary == Value(FIRST_MAC)
    assert (facts.enis[0].device_number, facts.enis[0].network_card) == (Value(0), Value(0))
    read.remember(facts)
    read.remember(read(FIRST_MAC))
    read(FIRST_MAC)
    place = {META + "mac", *(f"{MACS}{PRIMARY}/{key}" for key in ("device-number", "network-card"))}
    assert place.isdisjoint(server.paths())


def test_a_primary_that_its_own_keys_deny_is_read_again(server: ImdsServer, read: Reader) -> None:
    """One wrong answer would last for the boot: the other ENI could never be configured."""
    server.faults[META + "mac"] = times(1, status(200, SECOND))
    facts = read()
    assert facts.primary == Value(FIRST_MAC)
    assert {one.mac: one.device_number for one in facts.enis}[SECOND_MAC] == Value(1)
    assert server.paths().count(META + "mac") == 2
    server.faults[META + "mac"] = status(200, SECOND)
    assert why(read().primary).endswith("as the primary ENI, but its device-number is 1")
    server.tree |= eni(SECOND, 0, network_card="1")
    assert why(read().primary).endswith("but its network-card is 1")
    server.faults[META + "mac"] = status(200, THIRD)
    assert why(read().primary) == (f"IMDS reports {THIRD} as the primary ENI, but it is not listed")


def test_a_pass_for_the_primary_alone_checks_it_as_well(server: ImdsServer, read: Reader) -> None:
    server.faults[META + "mac"] = times(1, status(200, SECOND))
    deadline = Deadline(20, "the test")
    assert why(find_primary(read.client, deadline)).endswith("but its device-number is 1")
    assert find_primary(read.client, deadline) == Value(FIRST_MAC)


def test_a_remembered_primary_yields_to_facts_and_to_another_answer(
    server: ImdsServer, read: Reader
) -> None:
    read.primary = SECOND_MAC
    server.faults[META + "mac"] = status(503)
    # the last known value stays until another one is read
    assert read().primary == Value(SECOND_MAC)
    del server.faults[META + "mac"]
    for _ in range(2):
        facts = read()
        assert facts.primary == Value(FIRST_MAC)
        read.remember(facts)
    read()
    assert META + "mac" not in server.paths()


def test_two_enis_on_device_0_leave_the_primary_unknown(server: ImdsServer, read: Reader) -> None:
    """A wrong answer may name an ENI that is being attached, whose number is 0 as well yet."""
    server.tree[f"{OF_SECOND}device-number"] = "0"
    server.faults[META + "mac"] = times(1, status(200, SECOND))
    facts = read()
    assert facts.primary == Value(SECOND_MAC)
    read.remember(facts)
    assert read().primary == Value(FIRST_MAC)


def test_a_wrong_device_number_of_the_primary_is_not_kept(server: ImdsServer, read: Reader) -> None:
    server.faults[f"{MACS}{PRIMARY}/device-number"] = status(200, "5")
    facts = read()
    assert why(facts.primary).endswith("its device-number is 5")
    read.remember(facts)
    del server.faults[f"{MACS}{PRIMARY}/device-number"]
    assert read().primary == Value(FIRST_MAC)
    assert read().enis[0].device_number == Value(0)


def test_a_listing_without_the_remembered_primary_changes_nothing(
    server: ImdsServer, read: Reader
) -> None:
    read.remember(read())
    server.listings[MACS] = SECOND + "/"
    assert read().primary == Value(FIRST_MAC)


# Garbage


@pytest.mark.parametrize(
    ("key", "field", "text"),
    [
        ("interface-id", "interface_id", "<html>"),
        ("interface-id", "interface_id", "../../etc"),
        ("interface-id", "interface_id", "eni-00000001\neni-00000002"),
        ("device-number", "device_number", "-1"),
        ("device-number", "device_number", "1000"),
        ("device-number", "device_number", "1\n2"),
        ("network-card", "network_card", "one"),
        ("local-ipv4s", "local_ipv4s", "10.0.1.10\n<html>"),
        ("local-ipv4s", "local_ipv4s", "10.0.1.10, 10.0.1.11"),
        ("local-ipv4s", "local_ipv4s", "0.0.0.0"),
        ("local-ipv4s", "local_ipv4s", "224.0.0.1"),
        ("local-ipv4s", "local_ipv4s", "127.0.0.1"),
        ("local-ipv4s", "local_ipv4s", "10.0.1.010"),
        ("local-ipv4s", "local_ipv4s", "10.0.1.1\n" * 5000),
        ("ipv6s", "ipv6s", "10.0.0.1"),
        ("ipv6s", "ipv6s", "fe80::1%eth0"),
        ("ipv4-prefix", "ipv4_prefixes", "10.0.1.1/28"),
        ("ipv4-prefix", "ipv4_prefixes", "10.0.1.0"),
        ("ipv4-prefix", "ipv4_prefixes", "10.0.1.0/255.255.255.240"),
        ("ipv4-prefix", "ipv4_prefixes", "0.0.0.0/0"),
        ("ipv6-prefix", "ipv6_prefixes", "2001:db8::1/80"),
        ("ipv6-prefix", "ipv6_prefixes", "::/0"),
        ("subnet-ipv4-cidr-block", "subnet_ipv4", "10.0.1.0/33"),
        ("subnet-ipv6-cidr-blocks", "subnet_ipv6", "none"),
    ],
)
def test_invalid_values_are_unknown(
    server: ImdsServer, read: Reader, key: str, field: str, text: str
) -> None:
    server.tree[OF_SECOND + key] = text
    reading = why(getattr(read.second(), field))
    assert reading.startswith("not a valid value: '")
    assert len(reading) < 200


# Keys that exist and are empty


LISTS = {
    "local-ipv4s": "local_ipv4s",
    "ipv6s": "ipv6s",
    "ipv4-prefix": "ipv4_prefixes",
    "ipv6-prefix": "ipv6_prefixes",
    "subnet-ipv4-cidr-block": "subnet_ipv4",
    "subnet-ipv6-cidr-blocks": "subnet_ipv6",
    "network-card": "network_card",
}


@pytest.mark.parametrize("text", ["", " \n\n"])
@pytest.mark.parametrize("key", LISTS)
def test_a_key_that_is_empty_in_two_reads_is_an_empty_list(
    server: ImdsServer, read: Reader, key: str, text: str
) -> None:
    """AWS lets an EFA-only ENI have an empty local-ipv4s."""
    server.tree[OF_SECOND + key] = text
    facts = read()
    assert getattr(facts.enis[1], LISTS[key]) == Absent()
    assert server.paths().count(OF_SECOND + key) == 2
    read.remember(facts)
    assert read() == facts
    assert server.paths().count(OF_SECOND + key) == 1


@pytest.mark.parametrize("key", ["interface-id", "device-number"])
def test_an_empty_key_that_every_eni_has_is_not_available_yet(
    server: ImdsServer, read: Reader, key: str
) -> None:
    server.tree[OF_SECOND + key] = ""
    reading = getattr(read.second(), key.replace("-", "_"))
    assert why(reading) == f"{key} not listed yet"
    assert reading.settling


def test_one_empty_answer_is_not_an_empty_list(server: ImdsServer, read: Reader) -> None:
    server.faults[LIST] = times(1, status(200, ""))
    assert read.second().local_ipv4s == Value((IPv4Address("10.0.1.10"),))


def test_lists_that_are_empty_though_the_eni_has_its_first_address_count_as_unread(
    server: ImdsServer, read: Reader
) -> None:
    server.tree |= eni(SECOND, 1, ipv6s="2001:db8::1", ipv4_prefix="10.0.1.64/28")
    read.remember(read())
    for key in ("local-ipv4s", "ipv6s", "ipv4-prefix"):
        server.tree[OF_SECOND + key] = ""
    facts = read.second()
    for reading in (facts.local_ipv4s, facts.ipv6s, facts.ipv4_prefixes):
        assert why(reading) == "the list is empty, but the ENI has an address"
    server.tree |= eni(SECOND, 1, ipv6s="", ipv4_prefix="")
    facts = read.second()
    assert (facts.ipv6s, facts.ipv4_prefixes) == (Absent(), Absent())


def test_the_primary_always_has_an_address(server: ImdsServer, read: Reader) -> None:
    server.tree[f"{MACS}{PRIMARY}/local-ipv4s"] = ""
    assert isinstance(read().enis[0].local_ipv4s, Unknown)


# Names and ids of other forms


@pytest.mark.parametrize("name", ["_internal", "0=later thing", "-", "a b/", "ä", "x" * 300])
def test_an_unknown_name_in_a_listing_has_no_effect(
    server: ImdsServer, read: Reader, name: str
) -> None:
    whole = read()
    if name.isascii():
        server.tree[OF_SECOND + name] = "z"
    assert read() == whole


@pytest.mark.parametrize("text", ["sni-00000000000000002", "eni-xyz", "ENI.7_b", "7"])
def test_an_id_of_another_form_is_an_id(server: ImdsServer, read: Reader, text: str) -> None:
    server.tree[f"{OF_SECOND}interface-id"] = text
    assert read.second().interface_id == Value(EniId(text))


def test_an_unreadable_key_is_named_with_its_eni(server: ImdsServer, read: Reader) -> None:
    server.faults[LIST] = status(400)
    server.tree[f"{MACS}{PRIMARY}/subnet-ipv4-cidr-block"] = "10.0.0.0"
    (problem,) = unread(read())
    assert problem.problem == (
        "IMDS could not be read completely:"
        " eni-00000001 local-ipv4s: HTTP 400;"
        " eni-00000000 subnet-ipv4-cidr-block: not a valid value: '10.0.0.0' (not ADDRESS/LENGTH)"
    )
    server.faults = {f"{MACS}{PRIMARY}/": status(400), OF_SECOND: status(400)}
    (problem,) = unread(read())
    assert problem.problem.endswith(
        f"{PRIMARY} interface-id, {PRIMARY} device-number, {PRIMARY} network-card and 15 more:"
        " the listing of its keys: HTTP 400"
    )


def test_binary_answers_are_unknown(server: ImdsServer, read: Reader) -> None:
    server.faults[f"{OF_SECOND}local-ipv4s"] = raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\x00"
    )
    assert why(read.second().local_ipv4s) == "not a valid value: not ASCII"


def test_each_key_fails_separately(server: ImdsServer, read: Reader) -> None:
    server.tree |= eni(SECOND, 1, ipv6s="2001:db8::1", ipv4_prefix="10.0.1.64/28")
    whole = read()
    read.remember(whole)
    for key, field in (
        ("local-ipv4s", "local_ipv4s"),
        ("ipv6s", "ipv6s"),
        ("ipv4-prefix", "ipv4_prefixes"),
    ):
        server.faults = {OF_SECOND + key: status(503)}
        facts = read()
        assert why(getattr(facts.enis[1], field)) == "HTTP 503"
        assert replace(facts.enis[1], **{field: getattr(whole.enis[1], field)}) == whole.enis[1]
        assert facts.enis[0] == whole.enis[0]


def test_disabled_imds_is_an_error(server: ImdsServer, read: Reader) -> None:
    server.faults["latest/api/token"] = status(403)
    with pytest.raises(ImdsError, match="disabled"):
        read()
