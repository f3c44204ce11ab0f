# SPDX-License-Identifier: Apache-2.0
"""systemd's state of the two modes' units, and its meaning for ENIs."""

import pytest

from ec2net.core.host.service import SERVICE, TARGET, TIMER, Unit, fault, parsed

ACTIVE = Unit("loaded", "active", "running", "enabled")
STOPPED = Unit("loaded", "inactive", "dead", "enabled")
OFF = Unit("loaded", "inactive", "dead", "disabled")
WAITING = Unit("loaded", "active", "waiting", "static")


@pytest.mark.parametrize(
    ("unit", "daemon_runs", "problem", "now"),
    [
        (STOPPED, False, "is stopped: nothing", True),
        (OFF, False, "is stopped and disabled", True),
        (Unit("loaded", "failed", "failed", "enabled"), False, "has failed", True),
        (Unit("loaded", "activating", "auto-restart", "enabled"), False, "has failed", True),
        (Unit("masked", "inactive", "dead", "masked"), False, "is masked", True),
        (Unit("masked", "active", "running", "masked-runtime"), True, "runs, but is masked", False),
        (Unit("loaded", "active", "running", "disabled"), True, "runs, but is disabled", False),
        (OFF, True, "runs, but is disabled", False),
    ],
)
def test_a_unit_that_does_not_keep_enis_configured_is_a_fault(
    unit: Unit, daemon_runs: bool, problem: str, now: bool
) -> None:
    found = fault({SERVICE: unit, TARGET: OFF, TIMER: OFF}, daemon_runs)
    assert found is not None
    assert str(found).startswith(f"{SERVICE} {problem}")
    assert found.now is now
    assert SERVICE in found.remedy
    assert found.masked is unit.masked


@pytest.mark.parametrize(
    "unit",
    [
        ACTIVE,
        Unit("loaded", "activating", "start", "enabled"),
        Unit("loaded", "reloading", "reload", "enabled"),
        Unit("loaded", "active", "running", "linked"),
        Unit("not-found", "inactive", "dead", ""),
    ],
)
def test_a_unit_that_runs_or_is_not_installed_is_no_fault(unit: Unit) -> None:
    assert fault({SERVICE: unit, TARGET: OFF, TIMER: OFF}, False) is None


def test_on_demand_the_timer_must_run() -> None:
    target = Unit("loaded", "active", "active", "enabled")
    assert fault({SERVICE: OFF, TARGET: target, TIMER: WAITING}, False) is None
    stopped = Unit("loaded", "inactive", "dead", "static")
    found = fault({SERVICE: OFF, TARGET: target, TIMER: stopped}, False)
    assert found is not None
    assert str(found).startswith(f"{TIMER} is stopped: ")
    found = fault({SERVICE: OFF, TARGET: STOPPED, TIMER: stopped}, False)
    assert found is not None
    assert found.unit == TARGET


def test_the_output_of_systemctl_is_parsed() -> None:
    text = (
        "Id=ec2net.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
        "UnitFileState=enabled\n\nId=ec2net-on-demand.target\nLoadState=loaded\n"
        "ActiveState=inactive\nSubState=dead\nUnitFileState=disabled\n"
    )
    assert parsed(text) == {SERVICE: ACTIVE, TARGET: OFF}
    assert parsed("") == {}
