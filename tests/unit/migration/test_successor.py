# SPDX-License-Identifier: Apache-2.0
"""The question whether ec2net would configure each ENI leaves the other tool out."""

from dataclasses import replace

from eni_facts import eni, host

from ec2net.core.config.settings import Config, EniSettings, Manage, Rival
from ec2net.core.decide.compute import compute
from ec2net.core.migration.successor import _ACCEPT_ALL, OBSERVED


def test_the_section_accepts_every_tool_for_each_eni_and_changes_nothing_else() -> None:
    config = Config(eni=EniSettings(manage=Manage.OBSERVE))
    asked = replace(config, sections=(_ACCEPT_ALL,))
    facts = host(eni(0), eni(1))
    plain, accepting = compute(facts, config).ready, compute(facts, asked).ready
    assert {intent.coexist_with for intent in accepting} == {tuple(Rival)}
    assert tuple(replace(intent, coexist_with=()) for intent in accepting) == plain
    assert OBSERVED == 'manage = "observe"'
