# SPDX-License-Identifier: Apache-2.0
"""A conversation with the kernel over rtnetlink: dumps, changes, one route lookup.

Each request is answered by the kernel itself at once, so none of them waits. Family is always
explicit and names are resolved from dumps: both are traps of pyroute2 otherwise.
"""

import errno
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from ec2net.core.errors import KernelError
from ec2net.core.facts import Link
from ec2net.core.kernel import decode, dump, pyroute, sysctl
from ec2net.core.kernel.driver import Drivers
from ec2net.core.kernel.objects import (
    Address,
    AnyAddress,
    KernelObject,
    LinkRef,
    LinkSetting,
    Route,
    Rule,
    Setting,
)
from ec2net.core.kernel.relevance import RelevantRoutes
from ec2net.core.kernel.snapshot import Snapshot

_REMEDIES = {
    errno.EPERM: "run as root or with CAP_NET_ADMIN",
    errno.EACCES: "run as root or with CAP_NET_ADMIN; or IPv6 is off on the link",
    errno.ENODEV: "the link went away",
}


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """What RTM_GETROUTE says: which way a packet would go."""

    link: int
    """Index of the outgoing link."""
    gateway: AnyAddress | None
    source: AnyAddress | None


class Kernel:
    """Use as a context manager; ``protocol`` marks what is made through it.

    ``tables`` are the tables of ENIs, so that others' need not be read (None: all above 255).
    """

    def __init__(self, protocol: int, tables: range | None = None) -> None:
        self.protocol = protocol
        self.tables = tables

    @cached_property
    def marks_addresses(self) -> bool:
        """Whether an address remembers its maker (IFA_PROTO, Linux 5.18)."""
        return pyroute.knows_address_protocol() and _kernel_release() >= (5, 18)

    @cached_property
    def _socket(self) -> Any:
        """For changes and lookups; opened by the first, which a pass without a change never is."""
        return pyroute.route_socket()

    @cached_property
    def _dumps(self) -> dump.Dumps:
        return dump.Dumps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if "_socket" in self.__dict__:
            self._socket.close()
        if "_dumps" in self.__dict__:
            self._dumps.close()

    def links(self) -> tuple[Link, ...]:
        """All links of this network namespace."""
        with self._errors("reading links"), Drivers() as drivers:
            found = []
            for message in self._dumps.decoded(dump.LINKS):
                ethernet = message["ifi_type"] == decode.ARPHRD_ETHER
                name = message.get_attr("IFLA_IFNAME")
                found.append(decode.link(message, drivers.of(name) if ethernet else ""))
            return tuple(found)

    def names(self, drivers: Collection[str]) -> tuple[str, ...]:
        """The names of the links with these drivers, without a look at anything else of them."""
        with self._errors("reading links"), Drivers() as asked:
            return tuple(name for _, name in socket.if_nameindex() if asked.of(name) in drivers)

    def snapshot(self, drivers: Iterable[str]) -> Snapshot:
        """Everything that matters, by one dump of each kind; sysctls of links with these drivers.

        Of others' routes see ``relevance``.
        """
        drivers = frozenset(drivers)
        links = tuple(
            replace(link, ipv6=sysctl.has_ipv6(link.name)) if link.driver in drivers else link
            for link in self.links()
        )
        names = {link.index: link.name for link in links}
        with self._errors("reading addresses, routes and rules"):
            addresses = [decode.address(m, names) for m in self._dumps.decoded(dump.ADDRESSES)]
            relevant = RelevantRoutes(self.protocol, self.tables)
            routes = [
                found
                for version in (4, 6)
                for m in self._dumps.decoded(dump.ROUTES, decode.family(version), relevant)
                if (found := decode.route(m, names)) is not None
            ]
            rules = [
                rule
                for version in (4, 6)
                for m in self._dumps.decoded(dump.RULES, decode.family(version))
                if (rule := decode.rule(m)) is not None
            ]
        accept_ra = _accept_ra(link for link in links if link.driver in drivers)
        return Snapshot(links, tuple(addresses), tuple(routes), tuple(rules), accept_ra)

    def addresses(self) -> frozenset[AnyAddress]:
        """Every address of this network namespace, on whatever link."""
        with self._errors("reading addresses"):
            found = (decode.address(m, {}) for m in self._dumps.decoded(dump.ADDRESSES))
            return frozenset(entry.item.interface.ip for entry in found)

    def lookup(self, destination: AnyAddress, source: AnyAddress | None = None) -> RouteAnswer:
        """Ask for the way from ``source`` to ``destination``. Raises ``KernelError``.

        Without ``source``: for a packet whose sender leaves the choice of it to the kernel.
        """
        doing = f"looking up {destination}" + (f" from {source}" if source else "")
        request = {"family": decode.family(destination.version), "dst": str(destination)}
        if source is not None:
            request |= {"src": str(source), "src_len": destination.max_prefixlen}
        with self._errors(doing):
            messages = list(self._socket.route("get", **request))
        found = decode.route(messages[0], {}, cloned=True) if messages else None
        if found is None:
            raise KernelError(f"{doing}: no answer")
        return RouteAnswer(found.item.link.index, found.item.gateway, found.item.source)

    def add(self, item: KernelObject) -> None:
        """Make ``item``; it must not be there. Raises ``KernelError``."""
        self._change("add", item)

    def replace(self, item: KernelObject) -> None:
        """Make ``item`` in place of what has its identity. Raises ``KernelError``."""
        self._change("replace", item)

    def remove(self, item: KernelObject) -> None:
        """Remove ``item``; not being there (any more) is success. Raises ``KernelError``."""
        try:
            self._change("del", item)
        except KernelError as error:
            gone = (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV)
            if error.errno not in gone:
                raise

    def _change(self, verb: str, item: KernelObject) -> None:
        with self._errors(f"{verb} {item.describe()}"):
            match item:
                case Address():
                    protocol = self.protocol if self.marks_addresses else None
                    self._socket.addr(verb, **decode.address_request(item, protocol))
                case Route():
                    self._socket.route(verb, **decode.route_request(item, self.protocol))
                case Rule():
                    self._socket.rule(verb, **decode.rule_request(item, self.protocol))
                case LinkSetting():
                    self._set_link(verb, item)

    def _set_link(self, verb: str, item: LinkSetting) -> None:
        index, value = item.link.index, item.value
        match item.setting:
            case Setting.ALTNAME:
                command = "property_del" if verb == "del" else "property_add"
                self._socket.link(command, index=index, altname=[value])
            case Setting.ACCEPT_RA:
                # By its name of now: after a renaming the old one may be another link's.
                sysctl.write_accept_ra(socket.if_indextoname(index), int(value))
            case Setting.UP:
                self._socket.link("set", index=index, state="up" if value else "down")
            case Setting.MTU | Setting.GROUP:
                self._socket.link("set", index=index, **{item.setting.value: value})

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """The kernel's refusals as our errors, with what was being done."""
        try:
            yield
        except OSError as error:
            raise _refused(doing, error.errno or 0) from error
        except Exception as error:
            if not isinstance(error, pyroute.netlink_error()):
                raise
            raise _refused(doing, int(getattr(error, "code", 0))) from error


def _refused(doing: str, code: int) -> KernelError:
    name = errno.errorcode.get(code, str(code))
    reason = f"{os.strerror(code)} ({name})" if code else "unknown error"
    return KernelError(f"{doing}: {reason}", remedy=_REMEDIES.get(code, ""), errno=code)


def _accept_ra(links: Iterable[Link]) -> tuple[LinkSetting, ...]:
    values = []
    for link in links:
        value = sysctl.read_accept_ra(link.name)
        if value is not None:
            values.append(LinkSetting(LinkRef(link.index, link.name), Setting.ACCEPT_RA, value))
    return tuple(values)


def _kernel_release() -> tuple[int, int]:
    numbers = os.uname().release.split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (IndexError, ValueError):
        return (0, 0)
