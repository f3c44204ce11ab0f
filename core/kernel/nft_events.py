# SPDX-License-Identifier: Apache-2.0
"""Notice at once when something of ec2net's nftables tables is removed (``nft flush ruleset``)."""

from ec2net.core.kernel import nft, wire
from ec2net.core.kernel.link_events import KernelEvents

_NETLINK_NETFILTER = 12
"""include/uapi/linux/netlink.h; CPython has no name for it."""
_GROUP = 1 << 6
"""NFNLGRP_NFTABLES is 7, as a mask of bind(2) (include/uapi/linux/netfilter/nfnetlink.h)."""
_SUBSYSTEM = 10 << 8
"""NFNL_SUBSYS_NFTABLES."""
_REMOVALS = frozenset(_SUBSYSTEM | message for message in (2, 5, 8))
"""NFT_MSG_DELTABLE, DELCHAIN and DELRULE (include/uapi/linux/netfilter/nf_tables.h)."""
_TABLE = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE."""
_BODY = wire.HEADER.size + 4
"""Behind struct nfgenmsg."""


class NftEvents(KernelEvents):
    """Events of nftables in this network namespace. Raises ``OSError`` if the kernel has no
    nftables."""

    def __init__(self) -> None:
        super().__init__(_GROUP, _NETLINK_NETFILTER)

    def removed(self) -> bool:
        """Consume what is queued: whether some of it removed something of a table of ec2net's."""
        found = False
        for data in self.queued():
            found = found or data is None or any(map(_is_removal, wire.messages(data)))
        return found


def _is_removal(message: tuple[int, int, int, bytes]) -> bool:
    kind, _, _, raw = message
    return kind in _REMOVALS and any(
        number == _TABLE and nft.is_ours(raw[start + wire.ATTRIBUTE.size : start + length])
        for number, start, length in wire.attributes_from(raw, _BODY)
    )
