# SPDX-License-Identifier: Apache-2.0
"""A record of what was observed, and a plan made from one: offline, without privileges.

A record holds the IMDS keys that the engine reads (nothing else of IMDS: no credentials, no
user data) and the kernel's links, addresses, routes and rules. A bare tree of IMDS will do
too; the links are then assumed to be there, one for each MAC.
"""

import json
import os
import platform
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

from ec2net import __version__
from ec2net.core.config.settings import Attached, Config
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.imds.source import Imds, RecordedImds
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import UsageError
from ec2net.core.model.facts import Link, Reading, Unknown, Value
from ec2net.core.model.identity import Mac, link_name
from ec2net.core.model.objects import (
    Address,
    LinkRef,
    LinkSetting,
    Mark,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Setting,
)
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.report import as_json as jsonform
from ec2net.core.runtime import files as bounded_file
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

T = TypeVar("T")

SIZE_MAX = 16 << 20
"""Bytes of a record: that of a host with sixty ENIs has some hundred thousand."""

_MACS = ("latest", "meta-data", "network", "interfaces", "macs")

_DAMAGES = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What is no record ends in one of these."""


class RecordingImds:
    """Passes requests on and keeps what came back."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds
        self.tree: dict[str, Any] = {}
        self.unread: dict[str, str] = {}

    @property
    def requests_made(self) -> int:
        return self._imds.requests_made

    def new_pass(self) -> None:
        self._imds.new_pass()

    def expect(self, enis: int) -> None:
        self._imds.expect(enis)

    @property
    def heard(self) -> bool:
        return self._imds.heard

    def answers(self, path: str, deadline: Deadline) -> bool:
        return self._imds.answers(path, deadline)

    def get(self, path: str, deadline: Deadline) -> Reading[str]:
        reading = self._imds.get(path, deadline)
        if isinstance(reading, Unknown):
            self.unread[path] = reading.reason
        elif isinstance(reading, Value) and not path.endswith("/"):
            node = self.tree
            *folders, key = path.split("/")
            for folder in folders:
                node = node.setdefault(folder, {})
            node[key] = reading.value
        elif isinstance(reading, Value):
            node = self.tree
            for folder in filter(None, path.split("/")):
                node = node.setdefault(folder, {})
        return reading


def record(
    view: View,
    imds: RecordingImds,
    config: dict[str, Any],
    environment: Environment,
    status: dict[str, Any] | None,
) -> dict[str, Any]:
    """The document that ``plan --imds`` reads.

    Besides, for who looks into a bug: what host it is, who has which link, and ``status``, what
    was last published.
    """
    snapshot = view.snapshot
    release = environment.keys("/etc/os-release")
    return {
        "version": jsonform.VERSION,
        "ec2net": __version__,
        "imds": imds.tree,
        "unread": imds.unread,
        "kernel": {
            "links": [jsonform.plain(link) for link in snapshot.links],
            "addresses": [
                {
                    "link": found.item.link.index,
                    "address": str(found.item.interface),
                    "protocol": found.protocol,
                }
                for found in snapshot.addresses
            ],
            "routes": [
                {**jsonform.plain(f.item), "link": f.item.link.index, "protocol": f.protocol}
                for f in snapshot.routes
            ],
            "rules": [{**jsonform.plain(f.item), "protocol": f.protocol} for f in snapshot.rules],
            "accept_ra": {str(s.link.index): s.value for s in snapshot.accept_ra},
        },
        "attached": {str(mac): when.value for mac, when in view.facts.attached.items()},
        "config": config,
        "host": {
            "kernel": os.uname().release,
            "os": " ".join(filter(None, (release.get("ID"), release.get("VERSION_ID")))),
            "python": platform.python_version(),
        },
        "choices": {
            str(mac): {"backend": choice.backend, "reasons": list(choice.reasons)}
            for mac, choice in view.choices.items()
        },
        "status": status,
    }


def plan_from_record(path: Path, config: Config, deadline: Deadline) -> View:
    """Raises ``UsageError`` if the file is no record, ``DeadlineExceeded`` if it does not end."""
    reading = deadline.within(deadline.remaining(), f"reading {path}")
    try:
        text = bounded_file.read(path, SIZE_MAX, reading).decode()
        if not text.strip():
            raise ValueError("it is empty")
        document = json.loads(text)
        tree, kernel = _parts(document)
        attached = _attached(document)
        snapshot = _snapshot(kernel) if kernel is not None else _assumed(tree, config)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", subject=str(path)) from error
    except _DAMAGES as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise UsageError(
            f"is not a record of ec2net or a tree of IMDS: {reason}",
            subject=str(path),
            remedy="make one with 'ec2net record FILE'",
        ) from error
    engine = Engine(
        config,
        RunDir(Path("/dev/null")),  # nothing is remembered, nothing is written
        Kernel(config.numbers.protocol),
        RecordedImds(tree),
        Plugins.of(config),
        Environment(lambda path: None, lambda path: None, lambda path: ()),
    )
    return engine.look(deadline, snapshot=snapshot, attached=attached)


def _parts(document: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if not isinstance(document, dict):
        raise TypeError("not an object")
    tree = document.get("imds", document)
    node = tree
    for part in _MACS:
        node = node[part]
    return tree, document.get("kernel") if "imds" in document else None


def _attached(document: dict[str, Any]) -> dict[Mac, Attached]:
    """Of a bare tree, and of records of before, it is not known."""
    told = document.get("attached", {}) if "imds" in document else {}
    return {Mac.parse(mac): Attached(when) for mac, when in _of(dict, told).items()}


def _assumed(tree: dict[str, Any], config: Config) -> Snapshot:
    """A link for every MAC in the tree, fresh from the hypervisor."""
    node: Any = tree
    for part in _MACS:
        node = node[part]
    links = tuple(
        Link(
            index=index,
            name=f"eni{index}",
            mac=Mac.parse(mac),
            driver=config.drivers[0],
            kind="",
            mtu=1500,
            up=False,
            group=0,
        )
        for index, mac in enumerate(sorted(node))
    )
    return Snapshot(links)


def _snapshot(kernel: dict[str, Any]) -> Snapshot:
    links = tuple(_link(link) for link in kernel["links"])
    names = {link.index: LinkRef(link.index, link.name) for link in links}
    return Snapshot(
        links,
        tuple(
            Found(
                Address(_ref(a["link"], names), ip_interface(_of(str, a["address"]))),
                int(a["protocol"]),
            )
            for a in kernel["addresses"]
        ),
        tuple(Found(_route(r, names), int(r["protocol"])) for r in kernel["routes"]),
        tuple(Found(_rule(r), int(r["protocol"])) for r in kernel["rules"]),
        tuple(
            LinkSetting(_ref(int(index), names), Setting.ACCEPT_RA, int(value))
            for index, value in kernel["accept_ra"].items()
        ),
    )


def _link(data: dict[str, Any]) -> Link:
    return Link(
        index=_of(int, data["index"]),
        name=link_name(_of(str, data["name"])),
        mac=Mac.parse(_of(str, data["mac"])) if data["mac"] is not None else None,
        driver=_of(str, data["driver"]),
        kind=_of(str, data["kind"]),
        mtu=_of(int, data["mtu"]),
        up=_of(bool, data["up"]),
        group=_of(int, data["group"]),
        altnames=tuple(_of(str, name) for name in _of(list, data["altnames"])),
        # These came later.
        permanent=_of(bool, data.get("permanent", False)),
        ipv6=_of(bool, data.get("ipv6", True)),
        master=_of(int, data.get("master", 0)),
    )


def _of(kind: type[T], value: Any) -> T:
    """``value``, which must be of just that type. Raises ``TypeError``."""
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} is not of type {kind.__name__}")
    return value


def _ref(index: Any, names: dict[int, LinkRef]) -> LinkRef:
    return names.get(_of(int, index), LinkRef(index, str(index)))


def _route(data: dict[str, Any], names: dict[int, LinkRef]) -> Route:
    gateway, source = data["gateway"], data["source"]
    return Route(
        destination=ip_network(_of(str, data["destination"])),
        table=int(data["table"]),
        metric=int(data["metric"]),
        link=_ref(data["link"], names),
        gateway=ip_address(_of(str, gateway)) if gateway else None,
        source=ip_address(_of(str, source)) if source else None,
        kind=RouteKind(data["kind"]),
    )


def _rule(data: dict[str, Any]) -> Rule:
    mark = data.get("mark")  # came later
    return Rule(
        source=ip_network(_of(str, data["source"])),
        priority=int(data["priority"]),
        table=int(data["table"]),
        suppress_prefixlength=_or_none(data["suppress_prefixlength"]),
        suppress_group=_or_none(data["suppress_group"]),
        mark=Mark(_of(int, mark["value"]), _of(int, mark["mask"])) if mark else None,
        destination=ip_network(_of(str, to)) if (to := data.get("destination")) else None,
        action=RuleAction(data.get("action", RuleAction.LOOKUP.value)),
    )


def _or_none(value: Any) -> int | None:
    return None if value is None else _of(int, value)
