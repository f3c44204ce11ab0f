# SPDX-License-Identifier: Apache-2.0
"""``doctor`` says what it checked, and what no check covers."""

from doctor_host import HOST, view
from eni_facts import mac

from ec2net.core.decide.intent import Standing
from ec2net.core.doctor.filters import Ruleset
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.doctor.readings import Readings
from ec2net.core.doctor.scope import scope

READ = Readings(ruleset=Ruleset())


def test_all_checks_pass_on_a_healthy_host() -> None:
    checked = scope(view(), READ, [])
    assert set(checked.passed) == set(Check) - {Check.UNCHECKED}
    said = checked.describe()
    assert said.startswith(f"{len(Check) - 1} checks passed; not checked: security groups, ")


def test_a_check_with_a_finding_did_not_pass() -> None:
    found = Finding(Severity.NOTE, Check.MTU, "ens6", "cause", "remedy")
    assert Check.MTU not in scope(view(), READ, [found]).passed


def test_a_subject_that_could_not_be_read_is_named_and_did_not_pass() -> None:
    read = Readings(silent_gateways=None, failed_units=None, out_of_time=True)
    checked = scope(view(), read, [])
    skipped = {Check.FILTER, Check.GATEWAY, Check.UNIT_FAILED, Check.ROUTING, Check.UNCHECKED}
    assert set(Check) - set(checked.passed) == skipped
    assert checked.not_checked[1:4] == ("gateways", "failed units", "the way of each address")
    assert "packet filters" in checked.not_checked[0]


def test_enis_that_ec2net_does_not_configure_are_named() -> None:
    ignored = HOST.without({mac(1): "why"}, Standing.IGNORED)
    assert scope(view(host=ignored), READ, []).not_checked[0] == "ens6 (ignored)"
    watched = view(observed_only=frozenset({mac(1)}))
    assert scope(watched, READ, []).not_checked[0] == "ens6 (observed)"
