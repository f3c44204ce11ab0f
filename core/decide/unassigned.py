# SPDX-License-Identifier: Apache-2.0
"""Addresses of an ENI's subnet that EC2 does not assign to the ENI: the VPC drops their packets.

An address outside of every subnet may be meant so: a VPC's route table can lead it to an ENI
without a source check. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from ec2net.core.decide.addresses import subnets_of, value_of
from ec2net.core.decide.intent import HostIntent
from ec2net.core.model.facts import Absent, EniFacts, Facts, Reading, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.model.objects import AnyAddress, AnyInterface, AnyNetwork
from ec2net.core.model.snapshot import Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unassigned:
    """An address, and the ENI whose subnet it is in. ``link`` is empty where no link has it."""

    mac: Mac
    address: AnyAddress
    eni_id: EniId | None
    link: str = ""
    interface: AnyInterface | None = None
    elsewhere: bool = False
    """Whether the link is that of another ENI than the one whose subnet the address is in."""

    @property
    def problem(self) -> str:
        eni = self.eni_id or self.mac
        if self.elsewhere:
            return (
                f"{self.address} is on {self.link}, but it is in the subnet of {eni}, and EC2 does not"
                " assign it: the VPC drops its packets"
            )
        if self.link:
            return (
                f"{self.address} is on {self.link}, but EC2 does not assign it to {eni}: the VPC"
                " drops its packets"
            )
        return (
            f"{self.address} is in the subnet of {eni}, but EC2 assigns it to no ENI of this"
            " instance: the VPC sends its packets elsewhere, or drops them"
        )

    @property
    def remedy(self) -> str:
        eni = self.eni_id or "eni-..."
        verb, key = (
            ("assign-private-ip-addresses", "--private-ip-addresses")
            if self.address.version == 4
            else ("assign-ipv6-addresses", "--ipv6-addresses")
        )
        assign = f"assign it: aws ec2 {verb} --network-interface-id {eni} {key} {self.address}"
        remove = f"remove it: ip address del {self.interface} dev {self.link}"
        if self.link:
            return f"{remove}; or {assign}" if self.elsewhere else f"{assign}; or {remove}"
        return f"{assign}; then: ec2net refresh"


def on_links(facts: Facts, host: HostIntent, snapshot: Snapshot) -> Iterator[Unassigned]:
    """Those that the links of managed ENIs have, as far as IMDS answered for certain."""
    assigned = facts.imds.enis
    known = {eni.mac: eni for eni in assigned}
    passed_on = [n for i in host.ready for n in (*i.routed, *i.configured_sources)]
    for intent in host.ready:
        eni = known.get(intent.mac)
        if eni is None:
            continue
        for found in snapshot.addresses_on(intent.link.index):
            interface = found.item.interface
            address = interface.ip
            place = next((one for one in (eni, *assigned) if _in_subnet(one, address)), None)
            if place is None or address.is_link_local or not _is_sure(place, address):
                continue
            named = any(address in n for n in passed_on if n.version == address.version)
            if not (named or any(has(other, address) for other in assigned)):
                eni_id, link, there = value_of(place.interface_id), intent.link.name, place is eni
                yield Unassigned(intent.mac, address, eni_id, link, interface, not there)


def in_subnet(facts: Facts, address: AnyAddress) -> Unassigned | None:
    """An address that no ENI has, with the ENI whose subnet it is in; None if there is none."""
    for eni in facts.imds.enis:
        if _in_subnet(eni, address) and _is_sure(eni, address):
            return Unassigned(eni.mac, address, value_of(eni.interface_id))
    return None


def has(eni: EniFacts, address: AnyAddress) -> bool:
    """Whether IMDS says that the ENI has this address, or a prefix with it."""
    addresses: tuple[AnyAddress, ...] = (*_values(eni.local_ipv4s), *_values(eni.ipv6s))
    prefixes: tuple[AnyNetwork, ...] = (*_values(eni.ipv4_prefixes), *_values(eni.ipv6_prefixes))
    return address in addresses or any(
        prefix.version == address.version and address in prefix for prefix in prefixes
    )


def _values(reading: Reading[tuple[T, ...]]) -> tuple[T, ...]:
    return value_of(reading) or ()


def _in_subnet(eni: EniFacts, address: AnyAddress) -> bool:
    return any(
        subnet.version == address.version and address in subnet
        for subnet in subnets_of(eni, ipv6=True)
    )


def _is_sure(eni: EniFacts, address: AnyAddress) -> bool:
    """Whether IMDS was read in this pass: a value of an earlier one may lack an address."""
    readings: tuple[Reading[object], ...] = (
        (eni.local_ipv4s, eni.ipv4_prefixes)
        if address.version == 4
        else (eni.ipv6s, eni.ipv6_prefixes)
    )
    return all(
        isinstance(reading, Absent) or (isinstance(reading, Value) and not reading.stale)
        for reading in readings
    )
