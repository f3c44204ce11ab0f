# SPDX-License-Identifier: Apache-2.0
"""The cause of each finding of ``doctor``: MTUs, units, and all of them together."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_host import (
    ERROR,
    FACTS,
    FIRST,
    HOST,
    NOTE,
    SECOND,
    SNAPSHOT,
    WARNING,
    default,
    intents,
    told,
    view,
)
from eni_facts import link, mac
from other_tools_host import host
from patience import HANGS

from ec2net.core.cli.commands import doctor
from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config, Ipv6Policy
from ec2net.core.decide.intent import Standing
from ec2net.core.decide.limits import within_limits
from ec2net.core.doctor import links, readings, units
from ec2net.core.doctor.examine import examine
from ec2net.core.doctor.finding import Check, Finding, in_order
from ec2net.core.doctor.readings import Readings, read_failed_units
from ec2net.core.doctor.scope import Scope
from ec2net.core.host.files import Environment
from ec2net.core.imds.endpoint import IPV4_ENDPOINT, Candidate
from ec2net.core.imds.ways import Outcome, Way
from ec2net.core.model import finding
from ec2net.core.model.errors import DoubleManagement, Ec2netError, ImdsError, KernelError
from ec2net.core.model.plan import Action, Change, Conflict, Plan
from ec2net.core.model.problem_code import Code
from ec2net.core.model.snapshot import Found
from ec2net.core.runtime.deadline import Deadline

# MTU.


@pytest.mark.parametrize(
    ("settings", "first", "second", "named"),
    [
        ({}, 9001, 9001, []),
        ({}, 9001, 1500, ["ens6"]),
        ({"mtu": 9001}, 9001, 9001, []),
        ({"mtu": 1500}, 9001, 9001, ["ens5", "ens6"]),
        ({"mtu": 1500}, 1500, 1500, []),
        ({"mtu": 9001}, 9001, 1500, ["ens6"]),
    ],
)
def test_an_mtu_that_differs_is_reported(
    settings: dict[str, Any], first: int, second: int, named: list[str]
) -> None:
    snapshot = replace(SNAPSHOT, links=(link(0, mtu=first), link(1, mtu=second)))
    found = told(links.wrong_mtus(intents(**settings), snapshot))
    assert found == [(WARNING, Check.MTU, name) for name in named]


def test_an_mtu_above_the_device_maximum_is_reported_with_the_setting_to_change() -> None:
    """'ec2net refresh' cannot set it, so doctor does not advise it."""
    small = replace(link(1, mtu=1500), mtu_max=3498)
    snapshot = replace(SNAPSHOT, links=(link(0, mtu=9001), small))
    _, conflicts = within_limits(intents(mtu=9001), snapshot)
    (found,) = links.refused_mtus(conflicts.values())
    assert (found.severity, found.subject) == (WARNING, "ens6")
    assert "the device accepts at most 3498" in found.cause
    assert found.remedy == 'set mtu to 3498 or less, or to "keep"'


def test_an_mtu_of_the_primary_that_the_device_refuses_is_not_suggested() -> None:
    small = replace(link(1, mtu=1500), mtu_max=3498)
    snapshot = replace(SNAPSHOT, links=(link(0, mtu=9001), small))
    (found,) = links.wrong_mtus(intents(), snapshot)
    assert "does not accept 9001: set mtu = 1500 for ens5" in found.remedy


# Units.

ETC, RUN = "/etc/systemd/system", "/run/systemd/system"
ON_DEMAND = f"{ETC}/multi-user.target.wants/ec2net-on-demand.target"


def environment(targets: dict[str, str]) -> Environment:
    tool = any("nm-cloud-setup" in path for path in targets)
    shipped = ["/usr/lib/systemd/system/nm-cloud-setup.timer"] if tool else []
    return host(links=targets, shipped=shipped)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ({}, []),
        ({f"{ETC}/ec2net.service": "/dev/null"}, [(ERROR, "ec2net.service")]),
        ({f"{RUN}/ec2net.service": "/dev/null"}, [(ERROR, "ec2net.service")]),
        ({f"{ETC}/ec2net@.service": "/dev/null"}, [(WARNING, "ec2net@.service")]),
        (
            {f"{ETC}/ec2net.service": "/dev/null", ON_DEMAND: "t"},
            [(WARNING, "ec2net.service")],
        ),
        (
            {f"{ETC}/ec2net-refresh.timer": "/dev/null", ON_DEMAND: "t"},
            [(ERROR, "ec2net-refresh.timer")],
        ),
        ({f"{ETC}/ec2net.service": "/usr/lib/systemd/system/ec2net.service"}, []),
        (
            {f"{ETC}/ec2net-ifup.service": "/dev/null", f"{ETC}/ec2netd.service": "/dev/null"},
            [(WARNING, "ec2net-ifup.service")],
        ),
        ({f"{ETC}/sshd.service": "/dev/null"}, []),
    ],
)
def test_a_masked_unit_is_reported(targets: dict[str, str], expected: list[Any]) -> None:
    found = told(units.masked(environment(targets)))
    assert found == [(severity, Check.UNIT_MASKED, unit) for severity, unit in expected]


def test_a_failed_unit_is_reported() -> None:
    assert told(units.failed(("ec2net.service",))) == [(ERROR, Check.UNIT_FAILED, "ec2net.service")]


# All together.

DIVERTED = Code.DIVERTED

CHANGE = Change(Action.ADD, HOST.ready[1].rules[0], mac(1))
CONFLICT = Conflict(mac(1), default(4, 10001, SECOND), default(4, 10001, FIRST))
SILENT = Way(Candidate(IPV4_ENDPOINT), Outcome.SILENT, "timed out")
REFUSED = HOST.without({mac(1): "it contradicts itself"}, Standing.REFUSED)
PENDING = HOST.without({mac(1): "no device-number yet"}, Standing.PENDING)


@pytest.mark.parametrize(
    ("seen", "readings", "expected"),
    [
        ({}, {}, []),
        ({"plans": {"netlink": Plan((CHANGE,))}}, {}, [(WARNING, Check.DRIFT, "")]),
        (
            {"plans": {"netlink": Plan((CHANGE,))}, "observed_only": frozenset({mac(1)})},
            {},
            [],
        ),
        ({"plans": {"netlink": Plan((), (CONFLICT,))}}, {}, [(ERROR, Check.CONFLICT, "ens6")]),
        ({"host": REFUSED}, {}, [(ERROR, Check.ENI, "ens6")]),
        ({"host": PENDING}, {}, [(WARNING, Check.ENI, "ens6")]),
        (
            {"problems": (Ec2netError("is broken", subject="x"),)},
            {},
            [(ERROR, Check.ENI, "x")],
        ),
        ({"problems": (ImdsError("silent"),)}, {"ways": (SILENT,)}, [(ERROR, Check.IMDS, "")]),
        (
            {"problems": (ImdsError("silent"), Ec2netError("is broken", subject="x"))},
            {"ways": (SILENT,)},
            [(ERROR, Check.IMDS, ""), (ERROR, Check.ENI, "x")],
        ),
        (
            {},
            {"wrong_ways": (finding.Finding(mac(1), "a"), finding.Finding(mac(1), "b"))},
            [(ERROR, Check.ROUTING, "ens6")],
        ),
        (
            {},
            {"wrong_ways": (finding.Finding(mac(1), "a"), finding.Finding(mac(1), "b", DIVERTED))},
            [(ERROR, Check.ROUTING, "ens6"), (ERROR, Check.ROUTING, "ens6")],
        ),
        ({}, {"silent_gateways": None}, [(NOTE, Check.UNCHECKED, "")]),
        ({}, {"failed_units": None}, [(NOTE, Check.UNCHECKED, "")]),
        ({}, {"failed_units": ("ec2net.service",)}, [(ERROR, Check.UNIT_FAILED, "ec2net.service")]),
    ],
)
def test_problems_of_the_pass_and_of_readings_are_reported(
    seen: dict[str, Any], readings: dict[str, Any], expected: object
) -> None:
    found = examine(view(**seen), Readings(**readings), environment({}), LoadedConfig(Config()))
    assert told(found) == expected


@pytest.mark.parametrize(
    ("seen", "readings", "code"),
    [
        ({"host": REFUSED}, {}, Code.REFUSED),
        ({"host": PENDING}, {}, Code.PENDING),
        ({"problems": (KernelError("is broken"),)}, {}, Code.KERNEL),
        ({"problems": (ImdsError("silent"),)}, {"ways": (SILENT,)}, Code.IMDS),
        ({}, {"wrong_ways": (finding.Finding(mac(1), "a", DIVERTED),)}, Code.DIVERTED),
        ({}, {"failed_units": ("ec2net.service",)}, None),
    ],
)
def test_a_finding_has_the_code_with_which_a_pass_reports_it(
    seen: dict[str, Any], readings: dict[str, Any], code: Code | None
) -> None:
    (found,) = examine(view(**seen), Readings(**readings), environment({}), LoadedConfig(Config()))
    assert found.reason_code is code


def test_ipv6_addresses_on_a_link_without_ipv6_are_a_note() -> None:
    off = replace(SNAPSHOT, links=(link(0), replace(link(1), ipv6=False)))
    (found,) = links.ipv6_off(FACTS, HOST, off)
    assert (found.severity, found.subject) == (NOTE, "ens6")
    assert "sysctl -w net.ipv6.conf.ens6.disable_ipv6=0" in found.remedy
    assert told(links.ipv6_off(FACTS, intents(ipv6=Ipv6Policy.OFF), off)) == []
    assert told(links.ipv6_off(FACTS, HOST, SNAPSHOT)) == []


def test_consequences_of_a_link_that_is_down_are_not_reported() -> None:
    down = replace(SNAPSHOT, links=(link(0), link(1, up=False)), routes=())
    wrong = (finding.Finding(mac(1), "a", DIVERTED), finding.Finding(mac(0), "b", DIVERTED))
    found = examine(
        view(snapshot=down), Readings(wrong_ways=wrong), environment({}), LoadedConfig(Config())
    )
    assert [one.check for one in found if one.subject == "ens6"] == [Check.LINK_DOWN]
    assert Check.ROUTING in {one.check for one in found if one.subject == "ens5"}


def test_an_object_that_another_finding_names_is_no_foreign_object() -> None:
    route = default(4, 10001, FIRST)
    snapshot = replace(SNAPSHOT, routes=(*SNAPSHOT.routes, Found(route, 4)))
    wrong = finding.Finding(mac(1), "a", DIVERTED, culprit=route)
    for ways, expected in (((), Check.FOREIGN_OBJECT), ((wrong,), Check.ROUTING)):
        found = examine(view(snapshot=snapshot), Readings(wrong_ways=ways), environment({}), LOADED)
        assert [one.check for one in found] == [expected]


def test_a_conflict_has_the_command_that_removes_the_foreign_object() -> None:
    (found,) = examine(
        view(plans={"netlink": Plan((), (CONFLICT,))}), Readings(), environment({}), LOADED
    )
    assert "run: ip route del default via 10.0.0.1 dev ens5 table 10001" in found.remedy


LOADED = LoadedConfig(Config())


def test_the_severity_of_another_tool_follows_its_danger() -> None:
    seen = {
        f"{ETC}/timers.target.wants/nm-cloud-setup.timer": "t",
        "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules": "",
        "/etc/netplan/50-cloud-init.yaml": "",
    }
    found = examine(view(), Readings(), environment(seen), LoadedConfig(Config()))
    assert told(found) == [
        (WARNING, Check.OTHER_TOOL, "nm-cloud-setup"),  # of no managed ENI
        (WARNING, Check.OTHER_TOOL, "cloud-init's network hotplug"),
        (NOTE, Check.OTHER_TOOL, "netplan"),
    ]


def test_a_tool_that_blocks_changes_is_one_error() -> None:
    seen = {f"{ETC}/timers.target.wants/nm-cloud-setup.timer": "t"}
    problem = DoubleManagement("p", frozenset({mac(1)}), subject="nm-cloud-setup", remedy="r")
    refused = HOST.without({mac(1): "why"}, Standing.REFUSED)
    found = examine(
        view(host=refused, problems=(problem,)),
        Readings(),
        environment(seen),
        LoadedConfig(Config()),
    )
    assert found == (Finding(ERROR, Check.OTHER_TOOL, "nm-cloud-setup", "p", "r"),)


def test_errors_are_first_and_without_duplicates() -> None:
    note = Finding(NOTE, Check.HOP_LIMIT, "", "c", "r")
    warning = replace(note, severity=WARNING)
    error = replace(note, severity=ERROR)
    assert in_order([note, warning, error, note]) == (error, warning, note)


def test_the_text_has_the_remedy_below_the_cause() -> None:
    error = Finding(ERROR, Check.MTU, "ens6", "its MTU is 1", "run: ip")
    warning = Finding(WARNING, Check.IMDS, "", "it is slow", "wait")
    checked = Scope((Check.DRIFT, Check.ENI), ("security groups",))
    assert doctor.lines([error, warning, warning], checked) == [
        "!! error [mtu] ens6: its MTU is 1",
        "     run: ip",
        "! warning [imds] it is slow",
        "     wait",
        "! warning [imds] it is slow",
        "     wait",
        "1 error, 2 warnings: 2 checks passed; not checked: security groups.",
    ]
    assert doctor.lines([], checked) == ["OK: 2 checks passed; not checked: security groups."]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'ec2net.service loaded failed failed Configure'; echo", ("ec2net.service",)),
        ("true", ()),
        ("echo ec2net.service; false", None),
        ("exec sleep 600", None),
    ],
)
def test_calls_of_systemctl_have_a_deadline(
    script: str, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(readings, "BOOTED", tmp_path / "none")
    assert read_failed_units(Deadline(60)) == ()  # systemd does not run
    monkeypatch.setattr(readings, "BOOTED", tmp_path)
    began = time.monotonic()
    assert read_failed_units(Deadline(0.5 if "sleep" in script else 60)) == expected
    assert time.monotonic() - began < HANGS
