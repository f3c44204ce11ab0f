# SPDX-License-Identifier: Apache-2.0
"""Plausible but wrong facts are not applied."""

import pytest
from eni_facts import eni, host, prefixes4

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import Standing


@pytest.mark.parametrize("prefix", ["10.0.1.0/24", "10.0.1.0/28"])
def test_a_prefix_that_holds_the_router_is_refused(prefix: str) -> None:
    """With ipv4_prefix_mode = "local" the host would take itself for its router."""
    found = host(eni(0), eni(1, ipv4_prefixes=prefixes4(prefix)))
    outcome = compute(found, Config()).enis[-1]
    assert outcome.standing is Standing.REFUSED
    assert "leaves no address to the router" in outcome.reason
