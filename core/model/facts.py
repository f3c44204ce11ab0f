# SPDX-License-Identifier: Apache-2.0
"""The observations: IMDS keys, each *value*, *absent* or *unknown*, and kernel links.

Text from IMDS is parsed before it gets here and travels no further as text.

An error is no news: amazon-ec2-net-utils 2.7.4 took a failed read for "no addresses" and removed
them (https://github.com/amazonlinux/amazon-ec2-net-utils/issues/161). Therefore only ``Absent``
ends anything, and ``Absent`` needs two witnesses (``core/imds/reader.py``).
``core/decide/last_known.py`` replaces an ``Unknown`` by the last good value of the same attachment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeAlias, TypeVar

from ec2net.core.model.identity import Attached, EniId, Mac

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """IMDS reported this value. ``stale`` marks a last known good value that replaces an unknown
    one."""

    value: T_co
    stale: bool = False
    once: bool = field(default=False, compare=False, repr=False)
    """A key that never changes was read only once so far: ec2net reads it again."""


@dataclass(frozen=True, slots=True)
class Absent:
    """IMDS says there is no such key: the listing lacks it, and a second look agreed."""

    empty: bool = field(default=False, compare=False, repr=False)
    """The key is there, and IMDS gave it an empty list twice."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Could not be read (error, timeout, garbage). Never removes anything."""

    reason: str
    settling: bool = field(default=False, compare=False)
    """IMDS has not got it *yet*, as with every new attachment: no fault, worth asking again."""


Reading: TypeAlias = Value[T_co] | Absent | Unknown
"""The reading of one IMDS key."""


@dataclass(frozen=True, slots=True)
class EniFacts:
    """The keys under ``network/interfaces/macs/<mac>/`` that matter here.

    Lists keep IMDS's order: the first of ``local_ipv4s`` is the primary address (AWS, "Instance
    metadata categories").
    """

    mac: Mac
    interface_id: Reading[EniId]
    device_number: Reading[int]
    network_card: Reading[int]
    local_ipv4s: Reading[tuple[IPv4Address, ...]]
    ipv6s: Reading[tuple[IPv6Address, ...]]
    ipv4_prefixes: Reading[tuple[IPv4Network, ...]]
    ipv6_prefixes: Reading[tuple[IPv6Network, ...]]
    subnet_ipv4: Reading[IPv4Network]
    subnet_ipv6: Reading[tuple[IPv6Network, ...]]


FIELDS = {
    "interface-id": "interface_id",
    "device-number": "device_number",
    "network-card": "network_card",
    "local-ipv4s": "local_ipv4s",
    "ipv6s": "ipv6s",
    "ipv4-prefix": "ipv4_prefixes",
    "ipv6-prefix": "ipv6_prefixes",
    "subnet-ipv4-cidr-block": "subnet_ipv4",
    "subnet-ipv6-cidr-blocks": "subnet_ipv6",
}
"""The field of ``EniFacts`` for each key of IMDS."""


IMMUTABLE = ("interface_id", "device_number", "network_card", "subnet_ipv4", "subnet_ipv6")
"""Fields whose values never change while an ENI is attached (a subnet's IPv6 block excepted)."""


def keys_of(eni: EniFacts) -> dict[str, Reading[object]]:
    """The reading of each key of an ENI, by the key's name in IMDS."""
    return {key: getattr(eni, name) for key, name in FIELDS.items()}


@dataclass(frozen=True, slots=True)
class ImdsFacts:
    """One reading of IMDS. ``enis`` holds the MACs that were asked for and are listed.

    ``listed`` is the listing of all MACs; a MAC that is absent from a good listing (and
    from a second look) has no entry in ``enis``.
    """

    primary: Reading[Mac]
    listed: Reading[tuple[Mac, ...]]
    enis: tuple[EniFacts, ...]
    cards: bool = False
    """Whether an ENI that is not in ``enis`` has a network card, or may have one."""


@dataclass(frozen=True, slots=True)
class Link:
    """A kernel link (RTM_NEWLINK). ``mac`` is the permanent one if the driver reports it.

    IMDS knows only the permanent MAC. No decision uses the present one, so a link does not keep it.
    """

    index: int
    name: str
    mac: Mac | None
    driver: str
    """Driver by ETHTOOL_GDRVINFO: ``ena``, ``ixgbevf``, ``vif``; empty where there is none."""
    kind: str
    """IFLA_INFO_KIND: ``veth``, ``bridge``, ``vlan``; empty for a hardware device."""
    mtu: int
    up: bool
    group: int
    altnames: tuple[str, ...] = ()
    permanent: bool = False
    """Whether ``mac`` is the permanent one (IFLA_PERM_ADDRESS)."""
    ipv6: bool = True
    """False if IPv6 is off on the link or on the host."""
    ipv6_off_by_mtu: bool = False
    """Whether IPv6 is off on the link by its MTU alone, which is below 1280."""
    master: int = 0
    """Index of the bridge, bond or VRF that it is a port of; 0 for none."""
    mtu_max: int = 0
    """The largest MTU that the device accepts (IFLA_MAX_MTU), in bytes; 0: not known."""
    mtu_min: int = 0
    """The smallest MTU that the device accepts (IFLA_MIN_MTU), in bytes."""
    vrf_table: int = 0
    """The table of a VRF (IFLA_VRF_TABLE); 0 for every other link."""

    def accepts(self, mtu: int) -> bool:
        """Whether ``mtu`` is within the device's limits (dev_validate_mtu, net/core/dev.c)."""
        return self.mtu_min <= mtu and not 0 < self.mtu_max < mtu


@dataclass(frozen=True, slots=True)
class Facts:
    """All inputs of the intent, except for the configuration."""

    imds: ImdsFacts
    links: tuple[Link, ...]
    attached: Mapping[Mac, Attached] = field(default_factory=dict)
    """When each link came (``core/state/boot_enis.py``); of those that lack it is not known."""
    elsewhere: Mapping[Mac, str] = field(default_factory=dict)
    """Links that udev gives to another manager, and its name (``core/host/managers.py``)."""
    ipv6_routers: Mapping[Mac, IPv6Address] = field(default_factory=dict)
    """Routers of subnets without ``fe80:ec2::1`` (``core/decide/ipv6_router.py``)."""
