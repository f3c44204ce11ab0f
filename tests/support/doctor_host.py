# SPDX-License-Identifier: Apache-2.0
"""A healthy host for tests of ``doctor``: two dual-stack ENIs and their configuration."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from eni_facts import PRIMARY, eni, mac
from eni_facts import host as facts

from ec2net.core.config.settings import Config, EniSettings
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import MAIN_TABLE, Address, LinkRef, Route
from ec2net.core.model.plan import Plan
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.choose import Choice

FACTS = facts(eni(0), eni(1))
OURS, STATIC, KERNEL = 236, 4, 2
FIRST, SECOND, OTHER = LinkRef(2, "ens5"), LinkRef(3, "ens6"), LinkRef(9, "docker0")
NUMBERS = NumberPlan()

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def intents(**settings: Any) -> HostIntent:
    """Two dual-stack ENIs, and how they are configured."""
    return compute(FACTS, Config(eni=EniSettings(**settings)))


HOST = intents()


def default(version: int, table: int, on: LinkRef, **values: Any) -> Route:
    network = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    gateway = ip_address("10.0.0.1" if version == 4 else "fe80:ec2::1")
    return replace(Route(network, table, 512, on, gateway), **values)


def in_place(host: HostIntent = HOST) -> Snapshot:
    """The parts of a healthy host."""
    routes = [Found(default(version, MAIN_TABLE, FIRST), STATIC) for version in (4, 6)]
    routes += [Found(r, OURS) for i in host.ready for r in i.table_routes if i.rules]
    held = [Found(Address(i.link, a), OURS) for i in host.ready for a in i.sources]
    rules = tuple(Found(rule, OURS) for intent in host.ready for rule in intent.rules)
    return Snapshot(FACTS.links, tuple(held), tuple(routes), rules)


SNAPSHOT = in_place()


def view(**values: Any) -> View:
    """The result of a pass on the healthy host, with other values."""
    choices = {PRIMARY: Choice("netlink", ()), mac(1): Choice("netlink", ())}
    return replace(View(FACTS, SNAPSHOT, HOST, choices, {"netlink": Plan()}, {}), **values)


def told(found: Iterable[Finding]) -> list[tuple[Severity, Check, str]]:
    found = list(found)
    assert all(one.cause and one.remedy for one in found)
    return [(one.severity, one.check, one.subject) for one in found]
