# SPDX-License-Identifier: Apache-2.0
"""Prove sources by TCP connections: the VPC answers a source only if the ENI that sends owns it.

An answer of the gateway to ARP or a neighbour solicitation proves no ownership, and neither does a
lookup in the kernel.
"""

import errno
import os
import select
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from ec2net.core.engine.verify import IMDS
from ec2net.core.model.objects import AnyAddress
from ec2net.core.runtime.deadline import Deadline

SECONDS = 3.0
"""For one batch: a lost SYN is sent again after one second (RFC 6298)."""
_BATCH = 128
"""Connections at a time: fewer than the usual limit of 1024 descriptors."""
_HTTP = 80


class Proof(StrEnum):
    """The result of a connection for its source."""

    CONNECTED = "connected"
    FAILED = "failed"
    NOT_PROVEN = "not proven"
    """There was nothing to connect to that answers this address family."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect."""

    address: AnyAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One source and its target. ``reason`` is empty if it connected."""

    source: AnyAddress
    target: Target
    proof: Proof
    reason: str = ""


def prove(
    sources: Sequence[AnyAddress], further: Target | None, deadline: Deadline
) -> tuple[Attempt, ...]:
    """Connect from each source to IMDS, and to ``further`` from those of its IP version.

    IMDS's IPv6 endpoint is off by default: if no source reaches it, that proves nothing.
    """
    imds = {version: Target(address, _HTTP) for version, address in IMDS.items()}
    pairs = [(source, imds[source.version]) for source in sources]
    if further is not None:
        same = [source for source in sources if source.version == further.address.version]
        pairs += [(source, further) for source in same]
    tried = [one for batch in _batches(pairs) for one in _connect(batch, deadline)]
    off = not any(a.target == imds[6] and a.proof is Proof.CONNECTED for a in tried)
    return tuple(
        Attempt(a.source, a.target, Proof.NOT_PROVEN, "IMDS does not answer by IPv6")
        if off and a.target == imds[6]
        else a
        for a in tried
    )


def _batches(
    pairs: Iterable[tuple[AnyAddress, Target]],
) -> Iterator[list[tuple[AnyAddress, Target]]]:
    left = iter(pairs)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _connect(pairs: Iterable[tuple[AnyAddress, Target]], deadline: Deadline) -> list[Attempt]:
    """All at once, within ``SECONDS``: they begin together, and are awaited one after the other."""
    limit = deadline.within(SECONDS, "connecting")
    done, waiting = list[Attempt](), list[tuple[socket.socket, AnyAddress, Target]]()
    try:
        for source, target in pairs:
            try:
                waiting.append((_begun(source, target), source, target))
            except OSError as error:
                done.append(Attempt(source, target, Proof.FAILED, _words(error.errno)))
        done += [Attempt(source, target, *_end(one, limit)) for one, source, target in waiting]
    finally:
        for one, _, _ in waiting:
            one.close()
    deadline.check()
    return done


def _end(one: socket.socket, limit: Deadline) -> tuple[Proof, str]:
    """How a connection ends."""
    if not limit.wait(one.fileno(), select.POLLOUT, seconds=limit.remaining()):
        return Proof.FAILED, f"no answer within {SECONDS:g} s"
    code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return (Proof.FAILED, _words(code)) if code else (Proof.CONNECTED, "")


def _begun(source: AnyAddress, target: Target) -> socket.socket:
    """A pending connection. Raises ``OSError``, such as for a source that no link has."""
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        one.bind((str(source), 0))
        code = one.connect_ex((str(target.address), target.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        one.close()
        raise
    return one


def _words(code: int | None) -> str:
    return os.strerror(code) if code else "unknown error"
