# SPDX-License-Identifier: Apache-2.0
"""The purpose of an item, and the clues to its ENI.

An item's type says how the kernel holds the item; its purpose says how ec2net treats it.
"""

from enum import Enum
from typing import TypeAlias

from ec2net.core.model.identity import Mac


class Purpose(Enum):
    """Code that owns, plans or applies items uses this, not a type or a number."""

    LINK = "link"
    """Configures a link or leads through one, and disappears with it."""
    SOURCES = "sources"
    """A rule that leads an ENI's traffic by its source."""
    TREE = "tree"
    """A rule on the way to an ENI's rules, on hosts with many sources (``goto``)."""
    ANSWERS = "answers"
    """A rule that leads answers by their mark (``published_ports``)."""
    GUARD = "guard"
    """A table's last route, until the table is complete (``core/live/guard.py``)."""
    NO_IPV4 = "no IPv4"
    """A rule by which the host's IPv4 fails at once (``ipv4_fast_failure``)."""
    CORRECTION = "correction"
    """A rule that keeps the primary's traffic from other ENIs (``primary_rules = "auto"``)."""
    FOREIGN = "foreign"
    """A kind of route that ec2net never creates (blackhole, multipath): always foreign."""

    @property
    def outlives_link(self) -> bool:
        """Whether the kernel keeps such an item when the link of its ENI goes."""
        return self not in (Purpose.LINK, Purpose.FOREIGN)


Clue: TypeAlias = tuple[str, object]
"""A property that an ENI and its item have in common."""

OF_PRIMARY: Clue = ("role", "primary")
"""The host has one such item, and it is the primary's."""


def of_link(index: int) -> Clue:
    return ("link", index)


def of_table(table: int) -> Clue:
    return ("table", table)


def of_source(source: object) -> Clue:
    """``source`` is the network that a rule is for."""
    return ("source", source)


def of_subnet(network: object) -> Clue:
    """``network`` is a CIDR that main shows by a route through its ENI."""
    return ("subnet", network)


def of_mac(mac: Mac | None) -> Clue:
    return ("mac", mac)
