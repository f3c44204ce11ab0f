# SPDX-License-Identifier: Apache-2.0
"""The files of amazon-ec2-net-utils on a running host, and what systemd-networkd made of them.

Only its own files count: those that its library writes (create_interface_config, create_rules,
create_ipv4_aliases in 2.3.0 and 2.7.4). Its lock folder in /run stays until the next boot: harmless.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from ec2net.core.host.files import Environment
from ec2net.core.model.objects import AnyInterface, AnyNetwork

FOLDER = "/run/systemd/network"
BASE = "/usr/lib/systemd/network/80-ec2.network"
"""The target of its symbolic link for each ENI."""
DROP_INS = ("eni.conf", "ec2net_policy_4.conf", "ec2net_policy_6.conf", "ec2net_alias.conf")

_SUFFIX = ".network"


def files(environment: Environment) -> Iterator[str]:
    """Its files, links and folders, each folder behind its files; no file of others.

    A folder in which an administrator has a file, too, stays.
    """
    for name in environment.list_folder(FOLDER):
        path = f"{FOLDER}/{name}"
        if name.endswith(f"{_SUFFIX}.d"):
            there = environment.list_folder(path)
            # eni.conf is in each of its folders, and no other tool's files have these names.
            if "eni.conf" in there:
                yield from (f"{path}/{own}" for own in DROP_INS if own in there)
                if set(there) <= set(DROP_INS):
                    yield path
        elif name.endswith(_SUFFIX) and environment.read_link(path) == BASE:
            yield path


@dataclass(frozen=True, slots=True)
class Wrote:
    """The objects that the tool's files told systemd-networkd to create."""

    rules: frozenset[tuple[AnyNetwork, int, int]] = frozenset()
    """Source, priority, table."""
    tables: frozenset[int] = frozenset()
    """Tables of routes."""
    static: frozenset[tuple[int, AnyNetwork]] = frozenset()
    """Table and destination of routes that no lease and no router gives."""
    addresses: frozenset[AnyInterface] = frozenset()
    """Secondary addresses, which no lease gives."""


def wrote(texts: Iterable[str]) -> Wrote:
    """Read its files (systemd.network(5)). Text that is not as it writes it counts for nothing."""
    rules, tables, static, addresses = set(), set(), set(), set()
    for section, keys in _sections(texts):
        if section == "Address" and (address := _address(keys.get("Address"))):
            addresses.add(address)
        table = _number(keys.get("Table") or keys.get("RouteTable"))
        if table is None:
            continue
        if section == "RoutingPolicyRule":
            source, priority = _network(keys.get("From")), _number(keys.get("Priority"))
            if source is not None and priority is not None:
                rules.add((source, priority, table))
        elif section == "Route" and (destination := _destination(keys)):
            static.add((table, destination))
        tables.add(table)
    return Wrote(frozenset(rules), frozenset(tables), frozenset(static), frozenset(addresses))


def _sections(texts: Iterable[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for text in texts:
        for part in text.split("\n[")[0 if text.startswith("[") else 1 :]:
            head, *lines = part.removeprefix("[").splitlines() or [""]
            yield head.rstrip("]"), dict(line.split("=", 1) for line in lines if "=" in line)


def _destination(keys: Mapping[str, str]) -> AnyNetwork | None:
    """A route with a gateway and no destination is a default route of the gateway's version."""
    gateways = {"_dhcp4": "0.0.0.0/0", "_ipv6ra": "::/0"}
    return _network(keys.get("Destination") or gateways.get(keys.get("Gateway", "")))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _address(text: str | None) -> AnyInterface | None:
    try:
        return ip_interface(text) if text else None
    except ValueError:
        return None


def _network(text: str | None) -> AnyNetwork | None:
    try:
        return ip_network(text) if text else None
    except ValueError:
        return None
