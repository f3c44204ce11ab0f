# SPDX-License-Identifier: Apache-2.0
"""A plan that is made from a record: offline, without privileges."""

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

from ec2net.core.config.settings import Config
from ec2net.core.config.tree import from_dict
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.imds.source import RecordedImds
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import ConfigError, UsageError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Attached, Mac, link_name
from ec2net.core.model.objects import (
    Address,
    LinkRef,
    LinkSetting,
    Mark,
    NextHop,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Setting,
)
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.record.tree import imds_tree, macs_of
from ec2net.core.runtime import files
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

T = TypeVar("T")

SIZE_MAX = 16 << 20
"""Bytes of a record: that of a host with sixty ENIs has some hundred thousand."""

_DAMAGES = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""The errors of a file that is no record."""


def plan_from_record(
    path: Path,
    config: Config,
    deadline: Deadline,
    by_record: Callable[[], None] = lambda: None,
) -> View:
    """The plan by the configuration that the record holds, or by ``config`` if it holds none.

    ``by_record`` is called if the record's configuration counts. Raises ``UsageError`` if the file is
    no record, ``DeadlineExceeded`` if it does not end.
    """
    try:
        document = _document(path, deadline.named(f"reading {path}"))
        tree, kernel = _parts(document)
        if "imds" in document and document.get("config") is not None:
            config = from_dict(document["config"])
            by_record()
        unread = _of(dict, document.get("unread", {}) if "imds" in document else {})
        attached = _attached(document)
        snapshot = _snapshot(kernel) if kernel is not None else _assumed(tree, config)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", subject=str(path)) from error
    except ConfigError as error:
        raise UsageError(f"its configuration cannot be used: {error}", subject=str(path)) from error
    except _DAMAGES as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise UsageError(
            f"is not a record of ec2net or a tree of IMDS: {reason}",
            subject=str(path),
            remedy="create one with 'ec2net record FILE'",
        ) from error
    engine = Engine(
        config,
        RunDir(Path("/dev/null")),  # no state is read, no state is written
        Kernel(config.numbers.protocol),
        RecordedImds(tree, unread),
        Plugins.of(config),
        Environment(lambda path: None, lambda path: None, lambda path: ()),
    )
    return inspect(engine, deadline, snapshot=snapshot, attached=attached)


def _document(path: Path, deadline: Deadline) -> Any:
    text = files.read(path, SIZE_MAX, deadline).decode()
    if not text.strip():
        raise ValueError("it is empty")
    return json.loads(text)


def _parts(document: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if not isinstance(document, dict):
        raise TypeError("not an object")
    if "imds" not in document:
        return imds_tree(document), None
    return imds_tree(document["imds"]), document.get("kernel")


def _attached(document: dict[str, Any]) -> dict[Mac, Attached]:
    """Unknown for a bare tree and for older records."""
    told = document.get("attached", {}) if "imds" in document else {}
    return {Mac.parse(mac): Attached(when) for mac, when in _of(dict, told).items()}


def _assumed(tree: dict[str, Any], config: Config) -> Snapshot:
    """A link for every MAC in the tree, fresh from the hypervisor."""
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
        for index, mac in enumerate(sorted(macs_of(tree)))
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
        further_rules=frozenset(
            (_of(int, version), _of(int, priority))
            for version, priority in kernel.get("further_rules", ())
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
        # Earlier records lack these keys.
        permanent=_of(bool, data.get("permanent", False)),
        ipv6=_of(bool, data.get("ipv6", True)),
        ipv6_off_by_mtu=_of(bool, data.get("ipv6_off_by_mtu", False)),
        master=_of(int, data.get("master", 0)),
        mtu_max=_of(int, data.get("mtu_max", 0)),
        mtu_min=_of(int, data.get("mtu_min", 0)),
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
        hops=tuple(_hop(one, names) for one in data.get("hops", ())),
        encap=bytes.fromhex(_of(str, data.get("encap", ""))),
        further=bytes.fromhex(_of(str, data.get("further", ""))),
        next_hop_object=_of(int, data.get("next_hop_object", 0)),
    )


def _hop(data: dict[str, Any], names: dict[int, LinkRef]) -> NextHop:
    name, gateway = _of(str, data["link"]), data["gateway"]
    return NextHop(
        next((link for link in names.values() if link.name == name), LinkRef(0, name)),
        ip_address(_of(str, gateway)) if gateway else None,
        _of(int, data["weight"]),
        bytes.fromhex(_of(str, data["encap"])),
    )


def _rule(data: dict[str, Any]) -> Rule:
    mark = data.get("mark")  # earlier records lack it
    return Rule(
        source=ip_network(_of(str, data["source"])),
        priority=int(data["priority"]),
        table=int(data["table"]),
        suppress_prefixlength=_or_none(data["suppress_prefixlength"]),
        suppress_group=_or_none(data["suppress_group"]),
        mark=Mark(_of(int, mark["value"]), _of(int, mark["mask"])) if mark else None,
        destination=ip_network(_of(str, to)) if (to := data.get("destination")) else None,
        action=RuleAction(data.get("action", RuleAction.LOOKUP.value)),
        target=_of(int, data.get("target", 0)),
    )


def _or_none(value: Any) -> int | None:
    return None if value is None else _of(int, value)
