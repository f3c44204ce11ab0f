# SPDX-License-Identifier: Apache-2.0
"""An intent as kernel objects. Pure.

The remaining work depends on who brings up an ENI's base configuration (link, MTU, first
addresses). A present DHCP client keeps it, and ec2net adds the rest.
"""

from collections.abc import Iterator
from enum import Enum

from ec2net.core.config.settings import MtuPolicy
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.model.numbers import IPV6_MTU_MIN
from ec2net.core.model.objects import (
    Address,
    AnyInterface,
    KernelObject,
    LaterAddress,
    LinkRef,
    LinkSetting,
    ReplyMarks,
    Route,
    Setting,
)
from ec2net.core.model.snapshot import Snapshot


class Base(Enum):
    """The program that brings up the base configuration of an ENI."""

    OURS = "ours"
    """ec2net: nothing else configures the link."""
    LEASED = "leased"
    """A network manager with a DHCP client; it may lease any one of the IPv6 addresses."""
    FOREIGN = "foreign"
    """An unknown program (initrd, dhclient, static): IPv6 may still be pending."""


def render(
    intent: EniIntent, host: HostIntent, snapshot: Snapshot, protocol: int, base: Base
) -> tuple[KernelObject, ...]:
    """The kernel objects of ``intent``. ``protocol`` is ec2net's mark."""
    primary = host.primary_link
    return (
        *_settings(intent, host, snapshot, base),
        *_in_order(intent, snapshot, _addresses(intent, snapshot, protocol, base)),
        *intent.table_routes,
        *intent.copied_routes,
        *(r for r in intent.main_routes if _ranks_behind(r, primary, snapshot, protocol)),
        *intent.correction_routes,
        *intent.subnet_routes,
        *intent.local_routes,
        *intent.every_rule,
        *_reply_marks(intent),
    )


def _reply_marks(intent: EniIntent) -> tuple[ReplyMarks, ...]:
    """One for both IP versions, where there is a rule that goes by the mark."""
    marks = dict.fromkeys(rule.mark for rule in intent.rules if rule.mark is not None)
    return tuple(ReplyMarks(intent.link, intent.table, mark) for mark in marks)


def _settings(
    intent: EniIntent, host: HostIntent, snapshot: Snapshot, base: Base
) -> tuple[LinkSetting, ...]:
    link = intent.link
    wanted = [LinkSetting(link, Setting.GROUP, intent.link_group)]
    wanted += [LinkSetting(link, Setting.ALTNAME, name) for name in intent.altnames]
    # A network manager sets the MTU, unless it gets none before the facts of IMDS (KEEP).
    open_to_us = base is not Base.LEASED or intent.early.mtu is MtuPolicy.KEEP
    mtu = _mtu(intent, host, snapshot) if open_to_us else None
    if mtu is not None:
        wanted.append(LinkSetting(link, Setting.MTU, mtu))
    if base is Base.OURS:
        if any(item.link.index == link.index for item in snapshot.accept_ra):
            # The router's advertisement would put the subnet and a default route into main. Before
            # the link is up, since the kernel asks the router at once.
            wanted.append(LinkSetting(link, Setting.ACCEPT_RA, 0))
        wanted.append(LinkSetting(link, Setting.UP, 1))
    elif base is Base.LEASED:
        # The client reads advertisements itself. Given back, the kernel would read them as well, on
        # a link that ec2net had brought up before the client did.
        there = LinkSetting(link, Setting.ACCEPT_RA, 0)
        wanted += [there] if there in snapshot.accept_ra else []
    return tuple(wanted)


def _mtu(intent: EniIntent, host: HostIntent, snapshot: Snapshot) -> int | None:
    """``dhcp`` without a DHCP client: the primary ENI's MTU, whose client got the VPC's MTU."""
    if not isinstance(intent.mtu, MtuPolicy):
        return intent.mtu
    if intent.mtu is MtuPolicy.KEEP or intent.primary or host.primary_link is None:
        return None
    mtu = _primarys_mtu(host, host.primary_link, snapshot)
    own = snapshot.link(intent.link.index)
    if mtu is None or (own is not None and not own.accepts(mtu)):
        return None
    return None if intent.ipv6 and mtu < IPV6_MTU_MIN else mtu


def _primarys_mtu(host: HostIntent, primary: LinkRef, snapshot: Snapshot) -> int | None:
    """The MTU that the primary is about to have, in the same pass, or has."""
    for other in host.ready:
        if other.primary and not isinstance(other.mtu, MtuPolicy):
            return other.mtu
    link = snapshot.link(primary.index)
    return None if link is None else link.mtu


def _addresses(
    intent: EniIntent, snapshot: Snapshot, protocol: int, base: Base
) -> tuple[AnyInterface, ...]:
    """The addresses that ec2net brings up: all; with a DHCP client all except the first IPv4
    address.

    DHCPv6 leases one IPv6 address, not always IMDS's first. A network manager's client adopts a
    present address. Before an unknown client ec2net waits: it adds nothing until the client has
    leased.
    """
    if base is Base.OURS:
        return intent.sources
    ipv6 = tuple(interface for interface in intent.base if interface.version == 6)
    here = snapshot.addresses_on(intent.link.index)
    leased = {found.item.interface.ip for found in here if found.protocol != protocol}
    ours = {found.item.interface.ip for found in here if found.protocol == protocol}
    # A backend without a DHCP client added this address; it stays when a lease of it arrives.
    kept = tuple(i for i in intent.base if i.version == 4 and i.ip in ours)
    if base is Base.LEASED or any(i.ip in leased for i in intent.sources if i.version == 6):
        return (*kept, *ipv6, *intent.further)
    # An address that was added in addition to a lease stays when the lease ends.
    return (*kept, *(i for i in ipv6 if i.ip in ours), *intent.further)


def _in_order(
    intent: EniIntent, snapshot: Snapshot, wanted: tuple[AnyInterface, ...]
) -> Iterator[Address]:
    """The first IPv4 address is the source of traffic that names none: R14. A network manager that
    renews its lease puts the address last; ec2net then moves the addresses before it behind it.

    Not if the address follows a foreign address of its subnet: it is always secondary then.
    """
    here = [found.item.interface for found in snapshot.addresses_on(intent.link.index)]
    first = next((there for there in here if there.ip == intent.first(4)), None)
    before = here[: here.index(first)] if first is not None else []
    if first is not None and first.network in [other.network for other in before]:
        before = []
    for interface in wanted:
        # With another prefix length the address is foreign, and may follow ec2net's.
        later = interface.version == 4 and interface in before
        yield (LaterAddress if later else Address)(intent.link, interface)


def _ranks_behind(route: Route, primary: LinkRef | None, snapshot: Snapshot, protocol: int) -> bool:
    """Whether a secondary ENI's default route in main follows the host's own.

    The tool that configured the primary ENI chose its metric. With a lower metric, ec2net's route
    would attract the host's traffic, so it is left out. The host's default route may also lead
    elsewhere: to a bridge with the primary ENI as port, a VPN, or a blackhole behind one.
    """
    if primary is None:
        return False
    others = [
        other
        for other in snapshot.main_defaults(route.destination.version, not_by=protocol)
        if other.link != route.link
    ]
    first = min((other.metric for other in others if other.link == primary), default=None)
    if first is not None:
        return first < route.metric
    return all(other.metric < route.metric for other in others)
