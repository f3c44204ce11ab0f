# SPDX-License-Identifier: Apache-2.0
"""Links that can be ENIs, and one ENI as the facts have it before the configuration counts. Pure."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ec2net.core.config.settings import AUTO_BACKEND, EniIdentity, EniSettings
from ec2net.core.decide.addresses import NotReady, value_of
from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.decide.settled import CRITERIA, Around, doubt, doubts
from ec2net.core.model.facts import EniFacts, Facts, Link, Value
from ec2net.core.model.identity import Attached, Mac
from ec2net.core.model.numbers import PRIMARY, EniNumber, NumberPlan
from ec2net.core.model.objects import LinkRef


def eni_links(links: Iterable[Link], drivers: Iterable[str]) -> dict[Mac, tuple[Link, ...]]:
    """The links that can be ENIs, by MAC: identified by their driver, never by their name.

    A VLAN or bridge on top of an ENI shares its MAC but has a driver of its own.
    """
    allowed = set(drivers)
    found: dict[Mac, tuple[Link, ...]] = {}
    for link in links:
        if link.mac is not None and link.driver in allowed:
            found[link.mac] = (*found.get(link.mac, ()), link)
    return found


@dataclass(frozen=True)  # without slots, for cached properties
class Candidate:
    """An ENI that IMDS lists, or a link that can be one."""

    mac: Mac
    facts: EniFacts | None
    """None while IMDS does not list it."""
    links: tuple[Link, ...]
    around: Around
    attached: Attached | None
    manager: str
    """The program that manages its link instead of ec2net, as udev says; empty if there is none."""

    @cached_property
    def number(self) -> EniNumber | None:
        """None while it is not settled, and where it is impossible."""
        with suppress(NotReady):
            return settled_number(self.facts, self.around) if self.facts else None
        return None

    @cached_property
    def doubts(self) -> dict[str, str]:
        """The criteria of ``match`` that may come to hold, and why that is not settled."""
        return doubts(self.facts, self.around)

    def managed_by(self, settings: EniSettings) -> str:
        """As ``manager``; empty if the configuration names a backend, which takes precedence."""
        return self.manager if settings.backend == AUTO_BACKEND else ""

    def outcome(self, numbers: NumberPlan) -> EniOutcome:
        """The outcome without reason and intent: its parts do not depend on the standing."""
        refs = tuple(LinkRef(link.index, link.name) for link in self.links)
        return EniOutcome(
            self.mac,
            Standing.READY,
            "",
            refs[0] if refs else None,
            value_of(self.facts.interface_id) if self.facts else None,
            twins=refs[1:],
            table=numbers.table(self.number) if self.number else None,
            attached=self.attached,
        )

    def identity(self) -> EniIdentity:
        """The criteria of ``match`` as this ENI has them; they do not depend on its standing."""
        facts, number = self.facts, self.number
        return EniIdentity(
            mac=self.mac,
            eni_id=value_of(facts.interface_id) if facts else None,
            card=number.card if number else None,
            device=number.device if number else None,
            subnet_ipv4=value_of(facts.subnet_ipv4) if facts else None,
            subnet_ipv6=(value_of(facts.subnet_ipv6) or ()) if facts else (),
            link_name=self.links[0].name if self.links else "",
            is_primary=self.around.primary,
            attached=self.attached,
            unsettled=frozenset(self.doubts),
        )


def candidates(facts: Facts, links: dict[Mac, tuple[Link, ...]]) -> list[Candidate]:
    """Every ENI of IMDS and every one of ``links``, in order of MACs."""
    known = {eni.mac: eni for eni in facts.imds.enis}
    primary = facts.imds.primary
    with_card = any(isinstance(eni.network_card, Value) for eni in facts.imds.enis)
    cards = facts.imds.cards or with_card
    found = []
    for mac in sorted({*known, *links}):
        is_primary = mac == primary.value if isinstance(primary, Value) else None
        # The primary cannot be detached (AWS, "Elastic network interfaces"), whatever its link does.
        attached = Attached.BOOT if is_primary else facts.attached.get(mac)
        around, manager = Around(is_primary, cards), facts.elsewhere.get(mac, "")
        found.append(Candidate(mac, known.get(mac), links.get(mac, ()), around, attached, manager))
    return found


def settled_number(eni: EniFacts, around: Around) -> EniNumber | None:
    """The ENI's number, or None while it is not settled. Raises ``NotReady`` out of range.

    Device number 0 on card 0 belongs to the primary; elsewhere it means that IMDS has not
    propagated the attachment yet (ENU#90: two ENIs in one table).
    """
    if around.primary:
        return PRIMARY
    if doubt(eni, around, *CRITERIA["card"]):
        return None
    device, card = value_of(eni.device_number) or 0, value_of(eni.network_card) or 0
    try:
        return EniNumber(card=card, device=device)
    except ValueError as error:
        reason = f"IMDS reports {error}: ec2net does not configure the ENI; attach it with a possible number"
        raise NotReady(Standing.REFUSED, reason) from error
