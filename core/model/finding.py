# SPDX-License-Identifier: Apache-2.0
"""One way in which the kernel does not do what is intended."""

from dataclasses import dataclass

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Route
from ec2net.core.model.policy_rule import PolicyRule
from ec2net.core.model.problem_code import Code

_OF_TRAFFIC = (Code.FOREIGN_RULE, Code.DIVERTED, Code.DISCARDED, Code.MISSING_SOURCE)
"""One cause takes many sources."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which the kernel does not do what is intended."""

    mac: Mac | None
    """The ENI; None for what a gone one left behind."""
    text: str
    code: Code = Code.VERIFY
    remedy: str = ""
    """The remedy; empty if verify knows none."""
    culprit: PolicyRule | Route | None = None
    """The object of another maker that is the cause."""

    @property
    def kind(self) -> str:
        """Findings of one kind and code about one ENI are reported together, with their number."""
        return "" if self.code in _OF_TRAFFIC else self.text

    def describe(self) -> str:
        return self.text
