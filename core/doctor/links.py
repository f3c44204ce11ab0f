# SPDX-License-Identifier: Apache-2.0
"""MTUs that do not fit: a link's with the configuration, or with the primary's. Pure."""

from collections.abc import Collection, Iterable, Iterator

from ec2net.core.config.settings import MtuPolicy
from ec2net.core.decide.addresses import value_of
from ec2net.core.decide.intent import HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.model.facts import Facts
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkSetting
from ec2net.core.model.plan import Conflict
from ec2net.core.model.snapshot import Snapshot


def refused_mtus(conflicts: Iterable[Conflict]) -> Iterator[Finding]:
    """MTUs that are configured and that their devices do not accept."""
    for conflict in conflicts:
        if conflict.limit and isinstance(conflict.item, LinkSetting):
            cause = f"mtu = {conflict.item.value} is configured, and {conflict.limit}"
            link = str(conflict.item.link)
            yield Finding(Severity.WARNING, Check.MTU, link, cause, conflict.remedy)


IPV6_MINIMUM = 1280
"""RFC 8200, section 5. The kernel turns IPv6 off on a link with a smaller MTU."""


def without_ipv6(facts: Facts, host: HostIntent, snapshot: Snapshot) -> Iterator[Finding]:
    """Links whose MTU is too small for the IPv6 addresses that EC2 assigns."""
    assigned = {eni.mac for eni in facts.imds.enis if value_of(eni.ipv6s)}
    for intent in host.ready:
        link = snapshot.link(intent.link.index)
        if link is None or link.mtu >= IPV6_MINIMUM or intent.mac not in assigned:
            continue
        yield Finding(
            Severity.ERROR,
            Check.MTU,
            link.name,
            f"its MTU is {link.mtu}, and IPv6 needs {IPV6_MINIMUM}: the kernel has turned IPv6 off "
            "on the link",
            f"run: ip link set {link.name} mtu 9001 && ec2net refresh; correct the setting that "
            "made the MTU so small",
        )


def ipv6_off(facts: Facts, host: HostIntent, snapshot: Snapshot) -> Iterator[Finding]:
    """Links without IPv6 on which EC2 assigns IPv6 addresses, unless the configuration says the same."""
    assigned = {eni.mac: value_of(eni.ipv6s) for eni in facts.imds.enis}
    for intent in host.ready:
        link, lost = snapshot.link(intent.link.index), assigned.get(intent.mac)
        if link is None or link.ipv6 or link.ipv6_off_by_mtu or not lost or not intent.early.ipv6:
            continue
        yield Finding(
            Severity.NOTE,
            Check.ENI,
            link.name,
            f"IPv6 is off on the link (net.ipv6.conf.{link.name}.disable_ipv6), so the host does not"
            f" use the IPv6 addresses of the ENI: {', '.join(map(str, lost))}",
            f"to use them: sysctl -w net.ipv6.conf.{link.name}.disable_ipv6=0 && ec2net refresh;"
            ' otherwise set ipv6 = "off" for the ENI',
        )


def wrong_mtus(
    host: HostIntent, snapshot: Snapshot, but: Collection[Mac] = ()
) -> Iterator[Finding]:
    """The VPC's MTU is the same for all ENIs of an instance (AWS, "Network MTU"): where the
    configuration leaves it to DHCP or to others, a secondary's should be the primary's.

    ``but``: ENIs whose MTU is the subject of another finding."""
    primary = snapshot.link(host.primary_link.index) if host.primary_link else None
    for intent in host.ready:
        link = snapshot.link(intent.link.index)
        if link is None or intent.mac in but:
            continue
        if not isinstance(intent.mtu, MtuPolicy):
            if link.mtu != intent.mtu:
                yield Finding(
                    Severity.WARNING,
                    Check.MTU,
                    link.name,
                    f"its MTU is {link.mtu}, but {intent.mtu} is configured",
                    "run: ec2net refresh; if the old MTU returns, correct it in the network manager of "
                    f"{link.name}",
                )
        elif primary is not None and link.mtu != primary.mtu:
            yield Finding(
                Severity.WARNING,
                Check.MTU,
                link.name,
                f"its MTU is {link.mtu}, but the MTU of the primary ENI ({primary.name}) is"
                f" {primary.mtu}: large packets are lost where ICMP is filtered",
                f"run: ip link set {link.name} mtu {primary.mtu}, or configure mtu = {primary.mtu}"
                if link.accepts(primary.mtu)
                else f"the device of {link.name} does not accept {primary.mtu}:"
                f" set mtu = {link.mtu} for {primary.name}",
            )
