# SPDX-License-Identifier: Apache-2.0
"""Unknown facts are replaced by the last known good ones. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Network
from typing import TypeVar

from ec2net.core.model.facts import (
    Absent,
    EniFacts,
    ImdsFacts,
    Reading,
    T_co,
    Unknown,
    Value,
    keys_of,
)
from ec2net.core.model.identity import Mac

T = TypeVar("T")


def with_last_known_good(
    now: ImdsFacts, past: Mapping[Mac, EniFacts], past_primary: Mac | None
) -> ImdsFacts:
    """``now``, each unknown replaced by the last good value (marked stale).

    An ENI that IMDS no longer lists keeps its facts while the caller gives them in ``past``, that
    is, while its link exists: a detach is the end of the link, not of the entry in IMDS.
    """
    enis = {eni.mac: eni for eni in now.enis}
    merged = [_merged(eni, past.get(mac)) for mac, eni in enis.items()]
    merged += [_stale(eni) for mac, eni in past.items() if mac not in enis]
    primary = now.primary
    if isinstance(primary, Unknown) and past_primary is not None:
        primary = Value(past_primary, stale=True)
    return replace(now, primary=primary, enis=tuple(sorted(merged, key=lambda eni: eni.mac)))


def _merged(now: EniFacts, past: EniFacts | None) -> EniFacts:
    if past is None or _other_eni(now, past):
        return now
    if now == past and _marks(now) == _marks(past):
        return past  # the same object in each pass is quickly compared
    return EniFacts(
        mac=now.mac,
        interface_id=_either(now.interface_id, past.interface_id),
        device_number=_either(now.device_number, past.device_number),
        network_card=_either(now.network_card, past.network_card),
        local_ipv4s=_primary_stays(now.local_ipv4s, past.local_ipv4s),
        ipv6s=_in_order(_either(now.ipv6s, past.ipv6s), past.ipv6s),
        ipv4_prefixes=_either(now.ipv4_prefixes, past.ipv4_prefixes),
        ipv6_prefixes=_either(now.ipv6_prefixes, past.ipv6_prefixes),
        subnet_ipv4=_primary_stays(now.subnet_ipv4, past.subnet_ipv4),
        subnet_ipv6=_with_addresses(now, past),
    )


def _marks(eni: EniFacts) -> list[tuple[bool, bool]]:
    """The marks of each reading that a comparison leaves out."""
    return [
        (isinstance(one, Value) and one.once, isinstance(one, Absent) and one.empty)
        for one in keys_of(eni).values()
    ]


def _in_order(now: Reading[tuple[T, ...]], past: Reading[tuple[T, ...]]) -> Reading[tuple[T, ...]]:
    """``now``, what was there before first and in the order of before.

    AWS documents an order for ``local-ipv4s`` alone. The first IPv6 address is the source of a
    default route, so another order must not change it.
    """
    if not (isinstance(now, Value) and isinstance(past, Value)):
        return now
    stayed = [one for one in past.value if one in now.value]
    return replace(now, value=tuple(dict.fromkeys((*stayed, *now.value))))


def _with_addresses(now: EniFacts, past: EniFacts) -> Reading[tuple[IPv6Network, ...]]:
    """A subnet's IPv6 block cannot go while the ENI has IPv6 addresses from it."""
    if isinstance(now.ipv6s, Value):
        return _primary_stays(now.subnet_ipv6, past.subnet_ipv6)
    return _either(now.subnet_ipv6, past.subnet_ipv6)


def _other_eni(now: EniFacts, past: EniFacts) -> bool:
    """A MAC with another ENI id is another ENI: no former fact may replace an unknown one."""
    return (
        isinstance(now.interface_id, Value)
        and isinstance(past.interface_id, Value)
        and now.interface_id.value != past.interface_id.value
    )


def _either(now: Reading[T_co], past: Reading[T_co]) -> Reading[T_co]:
    if isinstance(now, Unknown) and isinstance(past, Value):
        return replace(past, stale=True)
    if isinstance(now, Unknown) and isinstance(past, Absent):
        return past
    return now


def _primary_stays(now: Reading[T_co], past: Reading[T_co]) -> Reading[T_co]:
    """As ``_either``; and 'absent' does not replace a value that no ENI can lose.

    The primary private IPv4 address stays for an ENI's life (AWS, "Elastic network interfaces"),
    so an IMDS that denies it is wrong.
    """
    if isinstance(now, Absent) and isinstance(past, Value):
        return replace(past, stale=True)
    return _either(now, past)


def _stale(eni: EniFacts) -> EniFacts:
    return _merged(unread(eni.mac, "IMDS does not list its MAC any more"), eni)


def unread(mac: Mac, reason: str) -> EniFacts:
    """Facts of an ENI of which nothing could be read."""
    unknown = Unknown(reason)
    return EniFacts(
        mac,
        interface_id=unknown,
        device_number=unknown,
        network_card=unknown,
        local_ipv4s=unknown,
        ipv6s=unknown,
        ipv4_prefixes=unknown,
        ipv6_prefixes=unknown,
        subnet_ipv4=unknown,
        subnet_ipv6=unknown,
    )
