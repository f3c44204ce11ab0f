# SPDX-License-Identifier: Apache-2.0
"""The state of an ENI after a pass, judged once: ``status`` and the daemon show the same word. Pure."""

from enum import StrEnum

from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.plugins.report import PassReport


class State(StrEnum):
    """The words that ``status`` shows."""

    ABSENT = "absent"
    """IMDS lists the ENI, and the host has no link of it (yet)."""
    PENDING = "pending"
    """Its facts or its link are not complete yet."""
    CONFIGURED = "configured"
    """The whole intent is in place, by the kernel's own answers."""
    DEGRADED = "degraded"
    """A part of the intent is not in place."""
    REFUSED = "refused"
    """Its facts contradict each other, or another tool configures it."""
    OBSERVED = "observed"
    """ec2net only compares it (``manage = "observe"``); the reason is the difference."""
    NO_ADDRESS = "no-address"
    """It has no address, as an EFA-only ENI."""
    IGNORED = "ignored"
    """Nothing is to be done for it, by the configuration."""


def judge(outcome: EniOutcome, report: PassReport) -> tuple[State, str]:
    """The state of one ENI and the reason for it; an empty reason if the ENI is configured."""
    if outcome.standing is not Standing.READY:
        return State(outcome.standing.value), outcome.reason  # both have the same word
    if outcome.intent is not None and outcome.intent.manage is Manage.OBSERVE:
        drift = report.drifts.latest.get(outcome.mac)
        return State.OBSERVED, drift.summary if drift is not None and drift.open else ""
    if trouble := report.trouble(outcome.mac):
        return State.DEGRADED, trouble[0]
    if outcome.link is not None and report.choices.get(outcome.mac) is None:
        return State.DEGRADED, "no backend has it"
    return State.CONFIGURED, ""
