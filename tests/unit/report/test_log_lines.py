# SPDX-License-Identifier: Apache-2.0
"""The log lines of a pass: one for each change, and one for each fault that it found."""

import logging
from dataclasses import replace
from ipaddress import ip_network

import pytest
from eni_facts import eni, host, ipv4, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.model.errors import Ec2netError, ImdsError, KernelError, LinkGone
from ec2net.core.model.finding import Finding
from ec2net.core.model.objects import LinkRef, Rule
from ec2net.core.model.plan import Action, Change, Conflict, Failure, Plan
from ec2net.core.model.problem_code import Code
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.log_lines import Line, lines
from ec2net.core.state.drift_record import REPAIRED, Drift, Drifts

HOST = compute(host(eni(0), eni(1), eni(2, local_ipv4s=ipv4("192.0.2.1"))), Config())
"""The third ENI is refused: its address lies outside of its subnet."""
READY = replace(HOST, enis=HOST.enis[:2])
LINK = LinkRef(3, "ens6")
RULE, OTHER = (Rule(ip_network(f"10.0.1.{n}/32"), 10001, 10001) for n in (4, 5))
CONFLICT = Conflict(mac(1), RULE, OTHER)
ADDED = Change(Action.ADD, RULE, mac(1))


def said(report: PassReport) -> list[tuple[int, str, bool]]:
    return [(line.level, line.text, line.lasts) for line in lines(report)]


def report(**values: object) -> PassReport:
    return replace(PassReport(READY, Plan(), {mac(1): "netlink"}), **values)  # type: ignore[arg-type]


def test_a_pass_without_news_logs_nothing() -> None:
    assert said(report()) == []


def test_a_change_is_logged_once_with_its_reason_and_its_eni() -> None:
    [line] = lines(report(done=(ADDED,), occasion="refresh"))
    assert line == Line(
        logging.INFO,
        f"ens6: + {RULE.describe()}",
        mac(1),
        lasts=False,
        fields={
            "ENI_ID": "eni-00000000000000001",
            "LINK": "ens6",
            "BACKEND": "netlink",
            "ACTION": "add",
            "REASON": "refresh",
        },
        code=Code.CHANGE,
    )
    assert line.journal["REASON_CODE"] == "change"
    assert line.journal["MESSAGE_ID"] == Code.CHANGE.message_id


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"findings": (Finding(mac(1), "rule is missing"),)}, Code.VERIFY),
        ({"findings": (Finding(mac(1), "traffic", Code.DIVERTED),)}, Code.DIVERTED),
        ({"plan": Plan((), (CONFLICT,))}, Code.CONFLICT),
        ({"problems": (ImdsError("no IMDS"),)}, Code.IMDS),
        ({"problems": (Ec2netError("odd"),)}, Code.OTHER),
        ({"failed": (Failure(ADDED, KernelError("EPERM", errno=1)),)}, Code.KERNEL),
    ],
)
def test_a_problem_has_the_code_of_its_kind(wrong: dict[str, object], code: Code) -> None:
    assert [line.code for line in lines(report(**wrong))] == [code]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"findings": (Finding(mac(1), "traffic is misrouted"),)}, "ens6: traffic is misrouted"),
        ({"findings": (Finding(None, "rule is left over"),)}, "gone: rule is left over"),
        ({"plan": Plan((), (CONFLICT,))}, f"ens6: {CONFLICT.describe()}"),
        ({"problems": (Ec2netError("no IMDS"), Ec2netError("no IMDS"))}, "no IMDS"),
        ({"failed": (Failure(ADDED, KernelError("EPERM", errno=1)),)}, "ens6: EPERM"),
    ],
    ids=["finding", "finding of a gone one", "conflict", "problem", "failure"],
)
def test_a_finding_is_logged_once_as_a_lasting_error(wrong: dict[str, object], text: str) -> None:
    assert said(report(**wrong)) == [(logging.ERROR, text, True)]


def test_a_refused_eni_is_logged_with_the_reason() -> None:
    [(level, text, lasts)] = said(PassReport(HOST, Plan(), {}))
    assert (level, lasts) == (logging.ERROR, True)
    assert text.startswith("ens7")
    assert "refused: IMDS reports 192.0.2.1, which is outside the ENI's subnet" in text


def test_one_error_is_logged_once_with_the_number_of_failed_changes() -> None:
    error = KernelError("no memory", errno=12)
    failed = tuple(Failure(replace(ADDED, item=item), error) for item in (RULE, OTHER))
    [(level, text, lasts)] = said(report(failed=failed))
    assert (level, lasts) == (logging.ERROR, True)
    assert text.startswith("ens6: no memory; 1 more ")


def test_a_removed_link_is_no_error_and_does_not_last() -> None:
    gone = LinkGone("the link was removed", subject="ens6")
    found = said(report(failed=(Failure(ADDED, gone),)))
    assert found == [(logging.INFO, f"ens6: {gone}", False)]


def test_a_foreign_change_is_a_warning() -> None:
    when = "2026-01-01T00:00:00+00:00"
    drift = Drift(("rule is missing",), ("1",), when, when, 1, (), REPAIRED, False)
    drifts = Drifts({mac(1): drift}, ((mac(1), drift),))
    assert said(report(drifts=drifts)) == [(logging.WARNING, f"ens6: {drift.log_text()}", False)]
