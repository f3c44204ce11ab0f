# SPDX-License-Identifier: Apache-2.0
"""Addresses that are there twice, that the kernel does not use, or whose lease runs out. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ec2net.core.decide.intent import HostIntent
from ec2net.core.decide.unassigned import on_links
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.objects import Address, AnyAddress
from ec2net.core.model.plan import Action
from ec2net.core.model.snapshot import AddressState, Snapshot


def duplicates(host: HostIntent, snapshot: Snapshot) -> Iterator[Finding]:
    """The same address on two links, one of which is an ENI's."""
    enis = {link.index for eni in host.enis for link in eni.links}
    found: dict[AnyAddress, dict[int, Address]] = defaultdict(dict)
    for item in (entry.item for entry in snapshot.addresses):
        if not item.interface.ip.is_link_local:
            found[item.interface.ip][item.link.index] = item
    for ip, by_link in found.items():
        held_by_enis = by_link.keys() & enis
        if len(by_link) < 2 or not held_by_enis:
            continue
        wrong = _intruder(ip, list(by_link.values()), host)
        names = " and ".join(item.link.name for item in by_link.values())
        yield Finding(
            # On lo or a dummy the address may be intended: a load balancer's address.
            Severity.ERROR if len(held_by_enis) > 1 else Severity.WARNING,
            Check.DUPLICATE_ADDRESS,
            wrong.link.name,
            f"{ip} is on {names}: any of these links may answer for it",
            f"run: ip address del {wrong.interface} dev {wrong.link}",
        )


def lost_leases(view: View) -> Iterator[Finding]:
    """First IPv4 addresses that no link has and that ec2net does not add: a network manager's."""
    for intent in view.host.ready:
        if intent.mac in view.observed_only:
            continue
        added = {change.item for change in view.plan.of(intent.mac).changes}
        there = {f.item.interface.ip for f in view.snapshot.addresses_on(intent.link.index)}
        for base in intent.base:
            if base.version == 6 or base.ip in there:
                continue
            if any(isinstance(item, Address) and item.interface.ip == base.ip for item in added):
                continue
            link = intent.link
            yield Finding(
                Severity.ERROR,
                Check.LEASE,
                link.name,
                f"its first address {base.ip} is missing: the lease of its network manager is lost",
                f"renew the lease: 'networkctl renew {link}' or 'nmcli device reapply {link}'; then: "
                "ec2net refresh",
            )


def unassigned(view: View) -> Iterator[Finding]:
    """Addresses on links of ENIs that EC2 assigns to none: the commonest cause of all."""
    for one in on_links(view.facts, view.host, view.snapshot):
        if one.mac not in view.observed_only and not is_left_over(one.address, view):
            yield Finding(
                Severity.ERROR, Check.UNASSIGNED_ADDRESS, one.link, one.problem, one.remedy
            )


def is_left_over(address: AnyAddress, view: View) -> bool:
    """Whether a pass removes the address, since EC2 does not assign it any more."""
    return any(
        change.action is Action.REMOVE
        and isinstance(change.item, Address)
        and change.item.interface.ip == address
        for change in view.plan.changes
    )


def _intruder(ip: AnyAddress, holders: list[Address], host: HostIntent) -> Address:
    """The one that should not be there: by IMDS it is another link's; else the last."""
    owners = {i.link.index for i in host.ready if any(s.ip == ip for s in i.sources)}
    return next((item for item in holders if owners and item.link.index not in owners), holders[-1])


def unusable(states: Iterable[AddressState], host: HostIntent) -> Iterator[Finding]:
    """IPv6 addresses that the kernel does not use: another host answered for them (RFC 4862), or
    the kernel still waits for such an answer."""
    enis = {link.index for eni in host.enis for link in eni.links}
    for state in states:
        ip = state.interface.ip
        if state.tentative and not state.duplicate and state.link.index in enis:
            yield Finding(
                Severity.WARNING,
                Check.DUPLICATE_ADDRESS,
                state.link.name,
                f"{ip} is tentative: the kernel does not use it before the end of duplicate address"
                " detection",
                "wait a second; if the address stays tentative, create it again: ip address del "
                f"{state.interface} dev {state.link} && ec2net refresh",
            )
        if state.duplicate and state.link.index in enis:
            yield Finding(
                Severity.ERROR,
                Check.DUPLICATE_ADDRESS,
                state.link.name,
                f"duplicate address detection failed for {ip}: the kernel does not use it",
                "find the other host that has the address; then: ip address del "
                f"{state.interface} dev {state.link} && ec2net refresh",
            )


@dataclass(frozen=True, slots=True)
class Lease:
    """A DHCPv4 lease as systemd-networkd keeps it. Seconds."""

    address: str
    rebinding: float
    """T2: from then on any server is asked, since the one that gave it has not answered."""
    lifetime: float

    @classmethod
    def parse(cls, keys: Mapping[str, str]) -> "Lease | None":
        """/run/systemd/netif/leases/IFINDEX (sd_dhcp_lease_save); None if it is none."""
        lifetime, rebinding = seconds(keys.get("LIFETIME", "")), seconds(keys.get("T2", ""))
        if not lifetime:
            return None
        # T2 may be omitted: seven eighths then (RFC 2131, 4.4.5).
        return cls(keys.get("ADDRESS", ""), rebinding or lifetime * 7 / 8, lifetime)


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "min": 60, "s": 1, "": 1}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(w|d|h|min|s|)")


def seconds(text: str) -> float | None:
    """A number of seconds, as networkd 252 writes it, or a time span such as ``52min 30s``."""
    total = 0.0
    for part in text.split():
        found = _SPAN.fullmatch(part)
        if found is None:
            return None
        total += float(found[1]) * _UNITS[found[2]]
    return total if text.strip() else None


def overdue(leases: Mapping[int, Lease], states: Iterable[AddressState]) -> Iterator[Finding]:
    """Leases (by link index) whose client does not renew them: the kernel counts down past T2."""
    for state in states:
        lease = leases.get(state.link.index)
        if lease is None or state.valid is None or str(state.interface.ip) != lease.address:
            continue
        if state.valid < lease.lifetime - lease.rebinding:
            yield Finding(
                Severity.WARNING,
                Check.LEASE,
                state.link.name,
                f"the lease of {lease.address} is overdue for renewal and ends in {state.valid} s",
                f"run: networkctl renew {state.link}; see 'journalctl -u systemd-networkd'",
            )
