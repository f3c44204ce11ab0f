# SPDX-License-Identifier: Apache-2.0
"""Equal intents have equal fingerprints, and others do not."""

import random
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ec2net.core.model.fingerprint import fingerprint
from ec2net.core.model.objects import (
    Address,
    KernelObject,
    LinkRef,
    LinkSetting,
    NextHop,
    Route,
    Rule,
)
from ec2net.core.model.objects import Setting as S

LINK = LinkRef(3, "ens6")
WANTED: tuple[KernelObject, ...] = (
    Rule(ip_network("10.0.1.4/32"), 10001, 10001),
    Route(ip_network("10.0.1.0/24"), 10001, 0, LINK, source=ip_address("10.0.1.4")),
    Address(LINK, ip_interface("10.0.1.4/24")),
    LinkSetting(LINK, S.MTU, 9001),
)


def again() -> str:
    """As another process computes it."""
    return fingerprint("netlink", WANTED)


def test_a_fingerprint_does_not_depend_on_order_or_name_or_process() -> None:
    shuffled = random.Random(1).sample(WANTED, len(WANTED))
    renamed = [
        item if isinstance(item, Rule) else replace(item, link=LinkRef(3, "eth1"))
        for item in WANTED
    ]
    expected = fingerprint("netlink", WANTED)
    assert expected == fingerprint("netlink", shuffled) == fingerprint("netlink", renamed)
    code = "import runpy, sys; here = runpy.run_path(sys.argv[1]); print(here['again']())"
    command = [sys.executable, "-c", code, __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_a_fingerprint_is_the_same_in_earlier_versions() -> None:
    """A hold ended with an upgrade when routes had new fields, and ec2net retried its change."""
    assert fingerprint("netlink", WANTED) == "5923a7c1c862b95a75f783674792a6e2"


def test_each_rare_field_with_a_value_changes_the_fingerprint() -> None:
    route = Route(ip_network("10.0.1.0/24"), 10001, 0, LINK)
    routes = (
        route,
        replace(route, encap=b"1"),
        replace(route, further=b"1"),
        replace(route, next_hop_object=1),
        replace(route, hops=(NextHop(LINK),)),
        replace(route, hops=(NextHop(LINK, weight=2),)),
        replace(route, hops=(NextHop(LINK, encap=b"1"),)),
    )
    assert len({fingerprint("netlink", [item]) for item in routes}) == len(routes)


@pytest.mark.parametrize(
    "wanted",
    [
        WANTED[:-1],
        (*WANTED[:-1], LinkSetting(LINK, S.MTU, 1500)),
        (*WANTED[:-1], LinkSetting(LINK, S.GROUP, 9001)),
        (*WANTED[:-1], LinkSetting(LinkRef(4, "ens6"), S.MTU, 9001)),
        (*WANTED, Rule(ip_network("10.0.1.4/32"), 9999, 254, 0, 236)),
        (),
    ],
)
def test_another_intent_has_another_fingerprint(wanted: tuple[KernelObject, ...]) -> None:
    """Another attachment, too: another link index."""
    assert fingerprint("netlink", wanted) != fingerprint("netlink", WANTED)
    assert fingerprint("networkd", WANTED) != fingerprint("netlink", WANTED)


class Strange:
    """An item of a plugin that is no dataclass: its repr differs from process to process."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.identity = ("strange", text)
        self.rank = WANTED[0].rank

    def describe(self) -> str:
        return self.text


def test_items_of_plugins_need_not_be_dataclasses() -> None:
    assert fingerprint("x", [Strange("a")]) == fingerprint("x", [Strange("a")])
    assert fingerprint("x", [Strange("a")]) != fingerprint("x", [Strange("b")])
