# SPDX-License-Identifier: Apache-2.0
"""The state of each ENI in the daemon, and when the daemon reads the ENI again. Pure.

``compute`` decides an ENI's standing; this module follows the result over several passes. Each ENI
has its own backoff, so an ENI that is pending or fails delays no other.
"""

from dataclasses import dataclass, replace

from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.eni_state import State, judge

_UNSETTLED = (State.PENDING, State.DEGRADED, State.REFUSED)

SETTLING = 5.0
"""Seconds after its link appeared in which an ENI is never degraded: leases and the router's
advertisement (0.6 to 1.6 s, docs/networkd-measured.md) may be pending."""

FIRST_RETRY = 0.1
FIRST_RECHECK = 1.0
"""Seconds until the second reading of a configured ENI: IMDS may list more of its keys by then."""
RETRY_SHARE = 0.2
"""An ENI that is not done is looked at again after this share of the time that it waits already:
the news is seen at most a fifth later than it could be, and a long wait asks seldom."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks, from the configuration."""

    poll: float
    """All ENIs; nothing is looked at less often."""
    fast: float
    """An ENI that came less than ``fast_for`` ago: its addresses may be assigned one by one."""
    fast_for: float


@dataclass(frozen=True, slots=True)
class EniTrack:
    """One ENI over the passes. Times are of the monotonic clock, in seconds."""

    mac: Mac
    name: str
    link: int | None
    """Index of its link."""
    state: State
    reason: str
    """Empty when it is configured."""
    since: float
    """When it came into this state."""
    came: float
    """When its link did."""
    again: float | None
    """When to read the ENI again without an event; None: together with all others."""

    @property
    def settled(self) -> bool:
        """Whether nothing of it is pending."""
        return self.state not in _UNSETTLED

    @property
    def stirs(self) -> bool:
        """Whether an address that it gets may be news: also of one that is ignored, since a user
        who disconnected it from its manager may have connected it again."""
        return not self.settled or self.state in (State.IGNORED, State.NO_ADDRESS)


def follow(
    before: EniTrack | None, outcome: EniOutcome, report: PassReport, now: float, pace: Pace
) -> EniTrack:
    """The new state, after a pass at ``now`` that covered this ENI; ``before`` is its former state."""
    link = outcome.link.index if outcome.link is not None else None
    if before is not None and before.link != link:
        before = None
    came = now if before is None else before.came
    state, reason = judge(outcome, report)
    if state is State.DEGRADED and now - came < SETTLING and outcome.standing is Standing.READY:
        state = State.PENDING
    since = before.since if before is not None and before.state is state else now
    track = EniTrack(outcome.mac, outcome.name, link, state, reason, since, came, None)
    return replace(track, again=_again(track, now, pace))


def _again(track: EniTrack, now: float, pace: Pace) -> float | None:
    # From the start of its link: a state that keeps changing is no reason for short intervals.
    share = RETRY_SHARE * (now - track.came)
    soon = now + max(FIRST_RETRY, share)
    if track.state in _UNSETTLED:
        return soon if soon < now + pace.poll else None
    if track.state is State.NO_ADDRESS:  # IMDS may not list its addresses yet
        return soon if soon < track.came + pace.fast_for else None
    again = now + min(pace.fast, max(FIRST_RECHECK, share))
    if track.state is State.CONFIGURED and again < track.came + pace.fast_for:
        return again
    return None
