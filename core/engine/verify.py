# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel itself whether traffic would leave as intended.

The check covers the effect of the rules, not their text. For each address from which the host may
send, RTM_GETROUTE with that source must answer with the ENI's own link.
"""

from collections.abc import Collection, Iterator
from ipaddress import ip_address

from ec2net.core.decide.intent import EniIntent
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.finding import Finding
from ec2net.core.model.objects import AnyAddress, AnyInterface
from ec2net.core.model.plan import Action, Plan
from ec2net.core.runtime.deadline import Deadline

ABROAD: dict[int, AnyAddress] = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:ffff::1")}
"""A destination outside of every VPC (RFC 5737, RFC 3849). A lookup sends no packet."""
SERVICES: dict[int, AnyAddress] = {
    4: ip_address("169.254.169.254"),
    6: ip_address("fd00:ec2::254"),
}
"""IMDS, standing for the link-local services: every owned source must reach them."""


def differences(plan: Plan) -> tuple[Finding, ...]:
    """A plan that should be empty, as findings: what is missing, different or left over."""
    words = {
        Action.ADD: "is missing",
        Action.REPLACE: "differs",
        Action.REMOVE: "is left over",
    }
    return tuple(
        Finding(change.mac, f"{change.item.describe()} {words[change.action]}")
        for change in plan.changes
    )


def check(
    intent: EniIntent,
    kernel: Kernel,
    names: dict[int, str],
    deadline: Deadline,
    *,
    enis: Collection[int] = (),
) -> tuple[Finding, ...]:
    """Look up the way abroad and to IMDS from each address. ``names``: link names by index.

    Without rules of its own the primary uses the host's routes. They may lead to a VPN or a bridge,
    but through no other ENI (``enis``: their links' indices): there the source check drops it. The
    user routes a secondary without rules (``routing = "off"``, ``manage = "no-rules"``), by an
    intention that ec2net does not know.
    """
    if not intent.primary and not intent.rules:
        return ()
    found = []
    for interface in intent.sources:
        version = interface.version
        if version not in {gateway.version for gateway in intent.gateways}:
            continue
        for destination in (ABROAD[version], SERVICES[version], *_corrected(intent, interface)):
            deadline.check()
            answer = _answer(kernel, destination, interface.ip, intent, names, enis)
            if answer:
                found.append(
                    Finding(
                        intent.mac,
                        f"traffic from {interface.ip} to {destination} should leave through"
                        f" {intent.link}, but {answer}",
                        kind="traffic",
                    )
                )
    return tuple(found)


def _corrected(intent: EniIntent, source: AnyInterface) -> Iterator[AnyAddress]:
    """For the first address of a family, a host of each destination that the primary is kept to."""
    if intent.first(source.version) != source.ip:
        return
    for route in intent.correction_routes:
        if route.version == source.version:
            yield route.destination[min(1, route.destination.num_addresses - 1)]


def _answer(
    kernel: Kernel,
    destination: AnyAddress,
    source: AnyAddress,
    intent: EniIntent,
    names: dict[int, str],
    enis: Collection[int],
) -> str:
    """The error in the kernel's answer; empty if there is none."""
    try:
        answer = kernel.lookup(destination, source)
    except KernelError as error:
        return f"the kernel says: {error.problem}"
    if answer.link == intent.link.index or not (intent.rules or answer.link in enis):
        return ""
    return f"it would leave through {names.get(answer.link, f'link {answer.link}')}"
