# SPDX-License-Identifier: Apache-2.0
"""The state of a namespace's kernel, as data that two moments can be compared by.

All output of ``ip -j -d``: links, addresses, the routes of all tables and the rules of both
families, nexthop objects, and the sysctls per link. Timers and counters are omitted, and unordered
lists are sorted.
"""

import json
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self

from ec2net.core.simulation.vpc.namespace import Namespace

PROTOCOL = "236"
"""The mark of ec2net, as ``ip -N`` prints it."""

State = dict[str, list[str]]

_TIMERS = ("_timer", "_life_time", "expires")

_TENTATIVE_SECONDS = 3.0
"""More than duplicate detection takes."""


def kernel_state(namespace: Namespace) -> State:
    """By subject (``links``, ``rules 4``, ``routes 6`` ...), each object as one line of JSON."""
    state: State = {"links": [], "addresses": []}
    for link in _links(namespace):
        name, family = link["ifname"], link.pop("addr_info")
        if "altnames" in link:
            link["altnames"].sort()
        state["links"].append(_line(link))
        state["addresses"] += [f"{name} {_line(a)}" for a in family if a["family"] == "inet"]
        state["addresses"] += sorted(f"{name} {_line(a)}" for a in family if a["family"] == "inet6")
    for version in "46":
        state[f"rules {version}"] = [_line(r) for r in _ip(namespace, "rule", version)]
        routes = _ip(namespace, "route", version, "show", "table", "all")
        state[f"routes {version}"] = sorted(map(_line, routes))
    state["nexthops"] = [_line(n) for n in _ip(namespace, "nexthop")]
    conf = ["grep", "-rs", ".", "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"]
    state["sysctls"] = sorted(namespace.run(conf).stdout.splitlines())
    return state


def _links(namespace: Namespace) -> list[dict[str, Any]]:
    """Links with their addresses, once no address is pending: a kernel worker makes the link-local
    address of a new link usable a moment after the link is up, even without duplicate detection."""
    ends = time.monotonic() + _TENTATIVE_SECONDS
    while True:  # the loop ends by time; each read is a separate process
        links = _ip(namespace, "address")
        waiting = [a for link in links for a in link["addr_info"] if a.get("tentative")]
        if all(a.get("dadfailed") for a in waiting) or time.monotonic() > ends:
            return links


def differences(before: State, after: State) -> list[str]:
    """The differences, one line each: ``-`` removed, ``+`` added, ``~`` another primary address.

    No other order matters: that of rules with one priority and disjoint sources, or of an ENI's /32
    addresses, has no effect.
    """
    found = []
    for subject, old in before.items():
        new = after[subject]
        found += [f"- {subject}: {line}" for line in lacking(old, new)]
        found += [f"+ {subject}: {line}" for line in lacking(new, old)]
    was, now = _first_ipv4s(before), _first_ipv4s(after)
    if not found:
        found = [f"~ {now[link]} was {line}" for link, line in was.items() if now[link] != line]
    return found


def _first_ipv4s(state: State) -> dict[str, str]:
    """By link; the kernel uses the first address as the source where a program names none (R14)."""
    ipv4s = [line for line in state["addresses"] if '"family": "inet"' in line]
    return {line.split()[0]: line for line in reversed(ipv4s)}


def assert_same(before: State, after: State) -> None:
    """Fail with the differences unless both are equal."""
    found = differences(before, after)
    assert not found, "\n".join(found)


def lacking(lines: Iterable[str], among: Iterable[str]) -> list[str]:
    """The lines that are not ``among`` (often enough)."""
    left = list(among)
    found = []
    for line in lines:
        if line in left:
            left.remove(line)
        else:
            found.append(line)
    return found


def in_order(lines: list[str], among: list[str]) -> bool:
    """Whether ``lines`` are among others, in the same order."""
    rest = iter(among)
    return all(line in rest for line in lines)


def marked(state: State) -> list[str]:
    """Routes and rules that carry our protocol number."""
    return [
        f"{subject}: {line}"
        for subject, lines in state.items()
        if subject.startswith(("rules", "routes"))
        for line in lines
        if json.loads(line).get("protocol") == PROTOCOL
    ]


def _ip(namespace: Namespace, subject: str, version: str = "", *rest: str) -> list[dict[str, Any]]:
    family = [f"-{version}"] if version else []
    done = namespace.run(["ip", "-N", "-j", "-d", *family, subject, *(rest or ["show"])])
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def _line(data: dict[str, Any]) -> str:
    return json.dumps(_timeless(data), sort_keys=True)


def _timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _timeless(v) for k, v in data.items() if not k.endswith(_TIMERS)}
    return data


class KernelEvents:
    """Notifications of links, addresses, routes and rules in a namespace, from now on.

    Notifications that only extend the life of a leased address are excluded: leases are renewed on
    their own schedule (DHCPv6 after 225 s), and nothing else changes by that.
    """

    # RTMGRP_* and 1 << (RTNLGRP_* - 1) (include/uapi/linux/rtnetlink.h).
    _LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE = 0x1, 0x10, 0x40, 0x80
    _IPV6_IFADDR, _IPV6_ROUTE, _IPV6_IFINFO, _IPV6_RULE = 0x100, 0x400, 0x800, 1 << 18
    _GROUPS = (_LINK | _IPV4_IFADDR | _IPV4_ROUTE | _IPV4_RULE) | (
        _IPV6_IFADDR | _IPV6_ROUTE | _IPV6_IFINFO | _IPV6_RULE
    )

    def __init__(self, namespace: Namespace) -> None:
        self._socket = namespace.call(self._open)
        self._leased = namespace.call(_leased_now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _open(self) -> socket.socket:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        events.bind((0, self._GROUPS))
        return events

    def fileno(self) -> int:
        """For select(2): readable when an event has arrived."""
        return self._socket.fileno()

    def taken(self) -> list[int]:
        """Types (RTM_*) of the messages so far, which are forgotten."""
        types: list[int] = []
        while True:  # ends when the queue is empty
            try:
                data = self._socket.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return types
            types += [kind for kind, body in _messages(data) if not self._renewed(kind, body)]

    def _renewed(self, kind: int, body: bytes) -> bool:
        leased = _lifeless(body) if kind in (_RTM_NEWADDR, _RTM_DELADDR) else None
        if leased is None:
            return False
        known = leased in self._leased
        if kind == _RTM_DELADDR:
            self._leased.discard(leased)
            return False
        self._leased.add(leased)
        return known


_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLMSG_DONE, _NLM_F_REQUEST, _NLM_F_DUMP = 3, 0x1, 0x300
_IFA_CACHEINFO, _FOREVER = 6, 0xFFFFFFFF


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _lifeless(body: bytes) -> bytes | None:
    """An address without its lifetimes; None if it has no end (struct ifaddrmsg, IFA_*)."""
    rest, attributes = body[:8], body[8:]
    forever = True
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _IFA_CACHEINFO:
            forever = struct.unpack_from("=II", attributes, 4)[1] == _FOREVER
        else:
            rest += attributes[:length]
        attributes = attributes[(length + 3) & ~3 :]
    return None if forever else rest


def _leased_now() -> set[bytes]:
    """The addresses with a lifetime, as :func:`_lifeless` has them."""
    leased: set[bytes] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(30)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        asking.send(struct.pack("=IHHII8x", 24, _RTM_GETADDR, flags, 1, 0))
        while True:  # ends with the dump, or by the timeout
            for kind, body in _messages(asking.recv(1 << 20)):
                if kind == _NLMSG_DONE:
                    return leased
                address = _lifeless(body)
                if address is not None:
                    leased.add(address)
