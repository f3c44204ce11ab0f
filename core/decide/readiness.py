# SPDX-License-Identifier: Apache-2.0
"""Checks that an ENI passes before it gets an intent: the first that fails is the reason. Pure."""

from dataclasses import dataclass
from ipaddress import IPv6Address

from ec2net.core.config.settings import EniSettings, Manage
from ec2net.core.decide.addresses import NotReady, why
from ec2net.core.decide.candidate import Candidate, settled_number
from ec2net.core.decide.intent import Standing
from ec2net.core.decide.routing import IPV6_GATEWAY
from ec2net.core.decide.settled import CRITERIA, Around, doubt
from ec2net.core.model.facts import Absent, EniFacts, Facts, Link
from ec2net.core.model.identity import Mac, OddName
from ec2net.core.model.numbers import EniNumber

BY_CONFIGURATION = 'the configuration sets manage = "ignore"'
"""The reason of an ENI that an administrator wants to be ignored."""


@dataclass(frozen=True, slots=True)
class ReadyEni:
    """An ENI with everything that an intent needs."""

    facts: EniFacts
    link: Link
    number: EniNumber
    around: Around
    ipv6_router: IPv6Address
    vrf: Link | None = None
    """The VRF that its link is a port of."""

    @property
    def primary(self) -> bool:
        return bool(self.around.primary)


def check_ready(candidate: Candidate, settings: EniSettings, facts: Facts) -> ReadyEni:
    """Raises ``NotReady``."""
    _check_managed(candidate, settings)
    eni, around = candidate.facts, candidate.around
    if eni is None:
        raise NotReady(Standing.PENDING, not_listed(candidate.mac))
    if not candidate.links:
        raise NotReady(Standing.ABSENT, "no link has its MAC (yet)")
    if around.primary is None:
        raise NotReady(Standing.PENDING, f"the primary ENI is not known: {why(facts.imds.primary)}")
    number = settled_number(eni, around)
    if number is None:
        raise NotReady(Standing.PENDING, doubt(eni, around, *CRITERIA["card"]))
    if isinstance(eni.local_ipv4s, Absent) and isinstance(eni.ipv6s, Absent):
        raise NotReady(Standing.NO_ADDRESS, "attached without any IP address (EFA-only)")
    router = facts.ipv6_routers.get(candidate.mac, IPV6_GATEWAY)
    link = _usable_link(candidate)
    return ReadyEni(eni, link, number, around, router, _vrf(link, facts))


def not_listed(mac: Mac) -> str:
    return f"IMDS does not list its MAC {mac} (yet)"


def _check_managed(candidate: Candidate, settings: EniSettings) -> None:
    if settings.manage is Manage.IGNORE:
        raise NotReady(Standing.IGNORED, BY_CONFIGURATION)
    if owner := candidate.managed_by(settings):
        raise NotReady(
            Standing.IGNORED, f"udev reports that {owner} manages it (ID_NET_MANAGED_BY)"
        )


def _usable_link(candidate: Candidate) -> Link:
    link, *twins = candidate.links
    if twins:
        names = ", ".join(f"{link.name}" for link in candidate.links)
        raise NotReady(Standing.REFUSED, f"several links have its MAC {candidate.mac}: {names}")
    if isinstance(link.name, OddName):
        raise NotReady(
            Standing.REFUSED,
            f"its link name {link.name} is not printable: rename the link",
        )
    return link


def _vrf(link: Link, facts: Facts) -> Link | None:
    """The VRF of ``link``, whose ports keep their addresses (Documentation/networking/vrf.rst).

    Raises ``NotReady`` for a port of another link: addresses and routes belong on that one, which
    another tool manages.
    """
    if not link.master:
        return None
    master = next((other for other in facts.links if other.index == link.master), None)
    if master is not None and master.vrf_table:
        return master
    name = master.name if master is not None else link.master
    raise NotReady(
        Standing.IGNORED, f"it is a port of {name}, which another tool created and configures"
    )
