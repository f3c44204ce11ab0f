# SPDX-License-Identifier: Apache-2.0
"""One request over rtnetlink and its answer, which a test writes as the kernel sends it."""

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from ec2net.core.kernel import wire
from ec2net.core.kernel.request import NLM_F_ACK, Request, Requests

ERROR = 2
REQUEST = Request("ifinfmsg", 16, NLM_F_ACK, {"index": 1}, [("IFLA_MTU", 1500)])


def answer(sequence: int, code: int = 0) -> bytes:
    body = struct.pack("=i", code) + bytes(16)
    return struct.pack("=IHHII", 16 + len(body), ERROR, 0, sequence, 0) + body


class Conversation:
    """The program's end of a request socket, and the kernel's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.settimeout(0.05)
        self.requests = Requests()
        self.requests.close()
        monkeypatch.setattr(self.requests, "_socket", ours)

    def asked(self) -> int:
        """The sequence number of the next request."""
        sequence: int = struct.unpack_from("=IHHII", self.kernel.recv(wire.BUFFER))[3]
        return sequence


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Conversation]:
    made = Conversation(monkeypatch)
    yield made
    made.requests.close()
    made.kernel.close()


def test_each_change_succeeds_or_fails_by_its_own_answer(conversation: Conversation) -> None:
    conversation.kernel.send(answer(1))
    assert conversation.requests.send(REQUEST) is None
    conversation.kernel.send(answer(2, -errno.EEXIST))
    with pytest.raises(FileExistsError):
        conversation.requests.send(REQUEST)
    assert [conversation.asked(), conversation.asked()] == [1, 2]


def test_a_late_answer_does_not_count_for_the_next_request(
    conversation: Conversation,
) -> None:
    """Mistaken for the answer, it would make a refused change count as made, or the reverse."""
    with pytest.raises(TimeoutError):
        conversation.requests.send(REQUEST)
    first = conversation.asked()
    conversation.kernel.send(answer(first))
    conversation.kernel.send(answer(first + 1, -errno.EPERM))
    with pytest.raises(PermissionError):
        conversation.requests.send(REQUEST)


def test_one_call_sends_two_requests_and_the_second_answer_counts(
    conversation: Conversation,
) -> None:
    """A connection from an address that was being moved failed between two calls."""
    conversation.kernel.send(answer(1, -errno.EADDRNOTAVAIL) + answer(2))
    odd = Request("ifaddrmsg", 21, NLM_F_ACK, {"index": 1}, [("IFA_PROTO", 236)])
    assert conversation.requests.send(REQUEST, after=odd) is None
    sent = conversation.kernel.recv(wire.BUFFER)
    assert [(kind, number) for kind, _, number, _ in wire.messages(sent)] == [(21, 1), (16, 2)]
    conversation.kernel.send(answer(3) + answer(4, -errno.EEXIST))
    with pytest.raises(FileExistsError):
        conversation.requests.send(REQUEST, after=odd)


def test_a_silent_kernel_ends_the_wait_at_the_deadline(
    conversation: Conversation,
) -> None:
    with pytest.raises(TimeoutError):
        conversation.requests.send(REQUEST)


def extended(text: bytes, *, capped: bool) -> bytes:
    """A refusal with an attribute that is ignored (NLMSGERR_ATTR_OFFS), and the text."""
    request = struct.pack("=IHHII", 20, 16, 5, 1, 0) + bytes(4)
    attributes = struct.pack("=HHI", 8, 2, 7) + struct.pack("=HH", 5 + len(text), 1) + text + b"\0"
    body = struct.pack("=i", -errno.EINVAL) + (request[:16] if capped else request) + attributes
    flags = 0x200 | (0x100 if capped else 0)
    return struct.pack("=IHHII", 16 + len(body), ERROR, flags, 1, 0) + body


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_has_the_text_of_the_kernels_extended_ack(
    conversation: Conversation, capped: bool
) -> None:
    conversation.kernel.send(extended(b"mtu greater than device maximum", capped=capped))
    with pytest.raises(OSError, match="mtu greater than device maximum") as refused:
        conversation.requests.send(REQUEST)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("length", range(20, 68))
def test_a_truncated_refusal_is_still_a_refusal(conversation: Conversation, length: int) -> None:
    """Even without its text, the code shows that the change was not made."""
    whole = extended(b"mtu greater than device maximum", capped=False)
    short = struct.pack("=I", length) + whole[4:length]
    conversation.kernel.send(short)
    with pytest.raises(OSError, match=r"\w") as refused:
        conversation.requests.send(REQUEST)
    assert refused.value.errno == errno.EINVAL
