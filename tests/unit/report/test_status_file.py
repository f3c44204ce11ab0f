# SPDX-License-Identifier: Apache-2.0
"""The status of the pass before, as far as its file can be used."""

import pytest

from ec2net.core.decide.intent import HostIntent
from ec2net.core.model.plan import Plan
from ec2net.core.model.problem_code import Code
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.status_file import Outcome


@pytest.mark.parametrize(
    ("stored_codes", "codes"),
    [
        (["imds", "verify"], [Code.IMDS, Code.VERIFY]),
        (["imds"], [Code.IMDS, Code.OTHER]),
        (["of a later version", None], [Code.OTHER, Code.OTHER]),
        ([["odd"], 3, "imds"], [Code.OTHER, Code.OTHER]),
        (None, [Code.OTHER, Code.OTHER]),
        ("imds", [Code.OTHER, Code.OTHER]),
    ],
)
def test_the_codes_of_the_former_status_are_read_whatever_it_holds(
    stored_codes: object, codes: list[Code]
) -> None:
    before = {"problems": ["a", "b"], "problem_codes": stored_codes}
    report = PassReport(HostIntent(()), Plan(), {})
    assert list(Outcome(report, {}, before).told_before.values()) == codes


@pytest.mark.parametrize("stored", [["a"], ["a", 3], "a", None])
def test_the_warnings_of_the_former_status_are_read_whatever_it_holds(stored: object) -> None:
    before = {"problems": [], "warnings": stored}
    known = Outcome(PassReport(HostIntent(()), Plan(), {}), {}, before).told_before
    assert known == ({"a": Code.SHARED_TABLE} if isinstance(stored, list) else {})
