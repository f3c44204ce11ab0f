# SPDX-License-Identifier: Apache-2.0
"""An intent as kernel objects: the order of addresses, and default routes behind the host's own."""

from ipaddress import ip_interface, ip_network

import pytest
from eni_facts import IPV4_ONLY, eni, host, ipv4, link

from ec2net.core.config.settings import Config, EniSection, Match
from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.compute import compute
from ec2net.core.live.render import Base, render
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    LaterAddress,
    LinkRef,
    LinkSetting,
    Route,
    Setting,
)
from ec2net.core.model.plan import Action, InPlace
from ec2net.core.model.snapshot import Found, Snapshot

OURS, DHCP = 236, 16


@pytest.mark.parametrize(
    ("order", "moved"),
    [
        (("10.0.1.4/24", "10.0.1.5/32", "10.0.1.6/32"), []),
        (("10.0.1.5/32", "10.0.1.6/32", "10.0.1.4/24"), ["10.0.1.5/32", "10.0.1.6/32"]),
        (("10.0.1.5/32", "10.0.1.4/24", "10.0.1.6/32"), ["10.0.1.5/32"]),
        # Foreign addresses as well as ec2net's.
        (("10.0.1.5/26", "10.0.1.4/24", "10.0.1.5/32", "10.0.1.6/32"), []),
        # the first address will be added behind them, and then they move
        (("10.0.1.5/32", "10.0.1.6/32"), []),
    ],
)
def test_an_address_that_precedes_the_first_one_is_moved_behind_it(
    order: tuple[str, ...], moved: list[str]
) -> None:
    """R14: networkd 252 puts a lease last when it takes the lease again. Nothing else changes."""
    facts = host(eni(0), eni(1, local_ipv4s=ipv4("10.0.1.4", "10.0.1.5", "10.0.1.6")))
    whole = compute(facts, Config())
    intent = next(intent for intent in whole.ready if not intent.primary)
    there = tuple(
        Found(Address(intent.link, ip_interface(text)), OURS if "/32" in text else DHCP)
        for text in order
    )
    snapshot = Snapshot(facts.links, addresses=there)
    wanted = [
        item
        for item in render(intent, whole, snapshot, OURS, Base.LEASED)
        if isinstance(item, Address) and item.interface.version == 4
    ]
    found = InPlace(
        ours=tuple(f.item for f in there if f.protocol == OURS),
        foreign=tuple(f.item for f in there if f.protocol == DHCP),
    )
    changes = make_plan({intent.mac: wanted}, found).changes
    assert [str(c.item.interface) for c in changes if isinstance(c.item, LaterAddress)] == moved
    assert {change.action for change in changes} <= {Action.REPLACE}


VPN = LinkRef(90, "wg0")


@pytest.mark.parametrize(
    ("primary", "own", "vpn", "made"),
    [
        (100, None, None, True),
        (512, None, None, True),
        (513, None, None, False),
        (600, None, None, False),
        (600, None, 50, False),  # the primary's alone counts, where it has one
        (100, None, 600, True),
        (None, None, 50, True),
        (None, None, 600, False),
        (None, 50, None, True),
        (None, 600, None, True),
        (100, 600, None, True),
        (None, None, None, True),
    ],
)
def test_a_default_route_in_main_has_less_precedence_than_that_of_the_host(
    primary: int | None, own: int | None, vpn: int | None, made: bool
) -> None:
    """Before it, the ENI would take over the host's traffic. A lease on the same link does not
    conflict."""
    facts = host(eni(0), eni(1, local_ipv4s=ipv4("10.0.1.4")))
    whole = compute(facts, Config())
    intent = next(intent for intent in whole.ready if not intent.primary)
    assert whole.primary_link is not None
    metrics = {whole.primary_link: primary, intent.link: own, VPN: vpn}
    routes = tuple(
        Found(Route(ip_network("0.0.0.0/0"), MAIN_TABLE, metric, link), DHCP)
        for link, metric in metrics.items()
        if metric is not None
    )
    snapshot = Snapshot(facts.links, routes=routes)
    wanted = [
        item
        for item in render(intent, whole, snapshot, OURS, Base.OURS)
        if isinstance(item, Route) and item.table == MAIN_TABLE and item.destination.version == 4
    ]
    assert [(route.link, route.metric) for route in wanted] == [(intent.link, 513)] * made


@pytest.mark.parametrize(
    ("base", "has_ipv6", "wanted"),
    [
        (Base.OURS, True, [0]),
        (Base.OURS, False, []),
        (Base.LEASED, True, []),
        (Base.FOREIGN, True, []),
    ],
)
def test_router_advertisements_are_off_where_ec2net_brings_the_link_up(
    base: Base, has_ipv6: bool, wanted: list[int]
) -> None:
    """They would add the subnet and a default route to main."""
    facts = host(eni(0), eni(1))
    whole = compute(facts, Config())
    intent = next(intent for intent in whole.ready if not intent.primary)
    accepted = LinkSetting(intent.link, Setting.ACCEPT_RA, 1)
    snapshot = Snapshot(facts.links, accept_ra=(accepted,) if has_ipv6 else ())
    items = render(intent, whole, snapshot, OURS, base)
    found = [item for item in items if isinstance(item, LinkSetting)]
    assert [item.value for item in found if item.setting is Setting.ACCEPT_RA] == wanted


@pytest.mark.parametrize(
    ("primary", "largest", "given"),
    [(9001, 0, 9001), (9001, 9001, 9001), (9001, 3498, None), (1280, 0, 1280), (1279, 0, None)],
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_secondary_follows_the_mtu_of_the_primary_as_far_as_it_can(
    primary: int, largest: int, given: int | None, configured: bool
) -> None:
    """Each pass set an MTU that the device refused; one below 1280 removes IPv6 from the link."""
    links = (link(0, mtu=1500 if configured else primary), link(1, mtu=1500, mtu_max=largest))
    facts = host(eni(0, **IPV4_ONLY), eni(1), links=links)
    only = EniSection(Match(device=0), {"mtu": primary} if configured else {})
    whole = compute(facts, Config(sections=(only,)))
    intent = next(intent for intent in whole.ready if not intent.primary)
    items = render(intent, whole, Snapshot(links), OURS, Base.OURS)
    mtus = [i.value for i in items if isinstance(i, LinkSetting) and i.setting is Setting.MTU]
    assert mtus == ([] if given is None else [given])


@pytest.mark.parametrize(("mtu", "given"), [(1279, [1279]), (1280, []), (9001, [])])
def test_an_mtu_that_no_network_manager_sets_is_set_live(mtu: int, given: list[int]) -> None:
    """Its file is older than the knowledge that the ENI has no IPv6 addresses."""
    facts = host(eni(0), eni(1, **IPV4_ONLY))
    only = EniSection(Match(device=1), {"mtu": mtu})
    whole = compute(facts, Config(sections=(only,)))
    intent = next(intent for intent in whole.ready if not intent.primary)
    items = render(intent, whole, Snapshot(facts.links), OURS, Base.LEASED)
    mtus = [i.value for i in items if isinstance(i, LinkSetting) and i.setting is Setting.MTU]
    assert mtus == given
