# SPDX-License-Identifier: Apache-2.0
"""The messages of nftables that report a removal from a table of ec2net's."""

import socket
import struct

import pytest

from ec2net.core.kernel.nft_events import NftEvents

OURS, OTHER = b"ec2net_10001_3_100000_fff00000\0", b"filter\0"


def message(kind: int, name: bytes) -> bytes:
    body = struct.pack("=BBH", 1, 0, 0) + struct.pack("=HH", 4 + len(name), 1) + name
    body += b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body


class Queued(NftEvents):
    """With messages instead of the kernel's."""

    def __init__(self, *messages: bytes) -> None:
        self._socket, sender = socket.socketpair(type=socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with sender:
            for one in messages:
                sender.send(one)


@pytest.mark.parametrize("kind", [2, 5, 8], ids=["table", "chain", "rule"])
def test_a_removal_from_a_table_of_ec2nets_is_noticed(kind: int) -> None:
    with Queued(message(0, OURS), message(kind, OURS)) as events:
        assert events.removed()
        assert not events.removed()


def test_other_tables_and_additions_are_ignored() -> None:
    with Queued(message(2, OTHER), message(0, OURS), message(6, OURS), b"\0" * 20) as events:
        assert not events.removed()
