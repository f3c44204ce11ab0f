# SPDX-License-Identifier: Apache-2.0
"""``ipv4_fast_failure``: on a host where no ENI has IPv4, IPv4 fails at once. Pure.

In an IPv6-only subnet DHCP leases 169.254.0.0/16 with a default route, so that connections
abroad would wait for answers that never come (R33).
"""

from collections.abc import Mapping
from dataclasses import replace

from ec2net.core.config.settings import EniSettings, Manage
from ec2net.core.decide.intent import EniOutcome
from ec2net.core.decide.readiness import ReadyEni
from ec2net.core.decide.routing import EVERYTHING, LINK_LOCAL_IPV4
from ec2net.core.model.facts import Absent, EniFacts
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import LAST_PRIORITIES, MAIN_TABLE, Rule, RuleAction


def no_ipv4_rules(eni: ReadyEni, settings: EniSettings, numbers: NumberPlan) -> tuple[Rule, ...]:
    """The rules of the primary, only where IMDS says for sure that its subnet has no IPv4."""
    absent = isinstance(eni.facts.local_ipv4s, Absent)
    sure = absent and isinstance(eni.facts.subnet_ipv4, Absent)
    if not (sure and eni.primary and settings.ipv4_fast_failure):
        return ()
    return () if settings.manage is Manage.NO_RULES else fast_failure(numbers)


def fast_failure(numbers: NumberPlan) -> tuple[Rule, ...]:
    """Rules by which IPv4 that no way but an ENI's is for fails at once.

    Ways are left to networks and hosts that main names, to default routes by other links (a VPN's)
    and to EC2's link-local services.
    """
    everything = EVERYTHING[4]
    specific, elsewhere, services, rest = LAST_PRIORITIES
    return (
        Rule(everything, specific, MAIN_TABLE, suppress_prefixlength=0),
        Rule(everything, elsewhere, MAIN_TABLE, suppress_group=numbers.link_group),
        Rule(everything, services, MAIN_TABLE, destination=LINK_LOCAL_IPV4),
        Rule(everything, rest, 0, action=RuleAction.UNREACHABLE),
    )


def only_without_ipv4(
    outcomes: list[EniOutcome], known: Mapping[Mac, EniFacts]
) -> list[EniOutcome]:
    """The same without these rules if any ENI has IPv4, or may have it, ready or not.

    A program may use an ENI that is ignored.
    """
    maybe = {mac for mac, eni in known.items() if not isinstance(eni.local_ipv4s, Absent)}
    if not any(outcome.links and outcome.mac in maybe for outcome in outcomes):
        return outcomes
    return [
        replace(outcome, intent=replace(intent, no_ipv4=()))
        if (intent := outcome.intent) is not None and intent.no_ipv4
        else outcome
        for outcome in outcomes
    ]
