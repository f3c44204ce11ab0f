# SPDX-License-Identifier: Apache-2.0
"""Filters of the kernel, on real sockets."""

import socket

import pytest

from ec2net.core.kernel.packet_filter import Word, attach

ONE, TWO = b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        ([Word(0, 1)], [ONE + ONE, ONE + TWO]),
        ([Word(4, 2)], [ONE + TWO, TWO + TWO]),
        ([Word(0, 1), Word(4, 2)], [ONE + TWO]),
        (
            [Word(0, 1, otherwise_accept=True), Word(4, 2)],
            [ONE + TWO, TWO + ONE, TWO + TWO],
        ),
    ],
)
def test_a_socket_gets_the_messages_that_fulfil_all_conditions(
    words: list[Word], accepted: list[bytes]
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        attach(ours, *words)
        for message in (ONE + ONE, ONE + TWO, TWO + ONE, TWO + TWO, b""):
            theirs.send(message)
        ours.setblocking(False)
        found = []
        while True:
            try:
                found.append(ours.recv(16))
            except BlockingIOError:
                break
        assert found == accepted
