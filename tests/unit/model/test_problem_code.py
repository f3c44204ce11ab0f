# SPDX-License-Identifier: Apache-2.0
"""Codes of messages are stable: each has a MESSAGE_ID of its own and a meaning."""

import re

import pytest

from ec2net.core.decide.intent import Standing
from ec2net.core.model.errors import DoubleManagement, Ec2netError, ImdsError, StateError
from ec2net.core.model.problem_code import Code, code_of


def test_each_code_has_an_id_of_its_own() -> None:
    ids = {code.message_id for code in Code}
    assert len(ids) == len(Code)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    assert all(code.meaning.endswith(".") for code in Code)


def test_the_ids_of_a_release_stay() -> None:
    """A catalogue and a filter of the journal name them."""
    assert Code.IMDS.message_id == "6b58ae84d6cdfd95546288d73ced2a43"
    assert Code.VERIFY.message_id == "29ebcac46c056e028dd720c031734cc4"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImdsError("x"), Code.IMDS),
        (StateError("x"), Code.STATE),
        (DoubleManagement("x", frozenset(), subject="tool", remedy="r"), Code.OTHER_TOOL),
        (Ec2netError("x"), Code.OTHER),
        (RuntimeError("x"), Code.OTHER),
    ],
)
def test_an_error_has_the_code_of_its_class(error: Exception, code: Code) -> None:
    assert code_of(error) is code


def test_each_state_of_an_eni_without_an_intent_is_a_code() -> None:
    others = {standing.value for standing in Standing} - {Standing.READY.value}
    assert others <= {code.value for code in Code}
