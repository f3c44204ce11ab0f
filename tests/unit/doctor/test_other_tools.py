# SPDX-License-Identifier: Apache-2.0
"""With a tool that has ENIs, ``doctor`` has one finding, with the tool's objects on each of them."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from doctor_host import (
    ERROR,
    FIRST,
    HOST,
    KERNEL,
    OTHER,
    SECOND,
    SNAPSHOT,
    STATIC,
    default,
    view,
)
from eni_facts import PRIMARY, mac
from other_tools_host import host

from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config
from ec2net.core.decide.intent import Standing
from ec2net.core.doctor.examine import examine
from ec2net.core.doctor.finding import Check
from ec2net.core.doctor.readings import Readings
from ec2net.core.engine.pass_plan import View
from ec2net.core.model.errors import DoubleManagement
from ec2net.core.model.objects import LinkRef, RouteKind, Rule
from ec2net.core.model.snapshot import Found

TOOL = "amazon-ec2-net-utils"
UNITS = ["refresh-policy-routes@ens5.timer", "refresh-policy-routes@ens6.timer"]
DHCP = 16
NO_LINK = LinkRef(0, "0")


def rule(source: str, table: int) -> Found[Rule]:
    return Found(Rule(ip_network(source), table, table), STATIC)


def beside_the_tool() -> View:
    """It has both ENIs: rules and routes by its numbers, and an error route without a link."""
    own = next(intent.sources[0].ip for intent in HOST.ready if intent.mac == mac(1))
    blackhole = default(6, 10001, NO_LINK, kind=RouteKind.OTHER, gateway=None)
    snapshot = replace(
        SNAPSHOT,
        rules=(rule(f"{own}/32", 10001), rule("10.0.1.77/32", 10001)),
        routes=(
            Found(default(4, 10000, FIRST), DHCP),
            Found(default(4, 10001, SECOND), DHCP),
            Found(blackhole, STATIC),
            Found(default(4, 10001, SECOND, metric=7), KERNEL),
        ),
    )
    macs = frozenset({PRIMARY, mac(1)})
    problem = DoubleManagement("the tool configures ens5, ens6", macs, subject=TOOL, remedy="r")
    refused = HOST.without(dict.fromkeys(macs, "why"), Standing.REFUSED)
    return view(host=refused, snapshot=snapshot, problems=(problem,))


def test_one_finding_names_the_tool_and_its_objects_and_no_deletion() -> None:
    """There were 12 warnings before, with commands that delete live routes; one was no command."""
    environment = host(working=UNITS, shipped=())
    (found,) = examine(beside_the_tool(), Readings(), environment, LoadedConfig(Config()))
    assert (found.severity, found.check, found.subject) == (ERROR, Check.OTHER_TOOL, TOOL)
    assert found.cause.endswith("Its objects: ens5: 1 route; ens6: 2 rules and 2 routes")
    assert "del" not in found.remedy


def test_an_object_without_a_refused_eni_is_still_a_foreign_object() -> None:
    seen = beside_the_tool()
    stray = Found(default(4, 10007, OTHER, gateway=ip_address("172.17.0.1")), STATIC)
    snapshot = replace(seen.snapshot, routes=(*seen.snapshot.routes, stray))
    found = examine(
        replace(seen, snapshot=snapshot),
        Readings(),
        host(working=UNITS, shipped=()),
        LoadedConfig(Config()),
    )
    assert [one.check for one in found] == [Check.OTHER_TOOL, Check.FOREIGN_OBJECT]
