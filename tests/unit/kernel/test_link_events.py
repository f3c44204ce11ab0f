# SPDX-License-Identifier: Apache-2.0
"""Waiting for a link, without creating any: the loopback, and a link that never appears."""

import resource
import time

import pytest
from patience import HANGS

from ec2net.core.kernel.link_events import LinkEvents, LinkPresence, link_index, wait_for_link
from ec2net.core.model.errors import ExitStatus, LinkGone
from ec2net.core.runtime.deadline import Deadline

GHOST = "ghost0"


def test_an_existing_link_ends_the_wait_at_once() -> None:
    with LinkEvents() as events:
        assert wait_for_link("lo", events, Deadline(0)) == link_index("lo") == 1


def test_a_link_that_never_appears_ends_the_wait_at_the_deadline() -> None:
    """The seed bug: waits for detached ENIs never ended."""
    began = time.monotonic()
    problem = "ghost0: no such link appeared within 0.1 s"
    with LinkEvents() as events, pytest.raises(LinkGone, match=problem) as caught:
        wait_for_link(GHOST, events, Deadline(0.1))
    assert caught.value.exit_status is ExitStatus.LINK_GONE
    assert time.monotonic() - began < HANGS


def test_waiting_makes_no_periodic_system_calls() -> None:
    def switches() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    with LinkEvents() as events:
        before = switches()
        with pytest.raises(LinkGone):
            wait_for_link(GHOST, events, Deadline(0.5))
        assert (
            switches() - before <= 5
        )  # polling 10 times a second would make it sleep 5 times more


def test_an_unchanged_link_does_not_interrupt() -> None:
    with LinkEvents() as events:
        LinkPresence(events, "lo", 1).check()


@pytest.mark.parametrize(("name", "index"), [(GHOST, 7), ("lo", 7)])
def test_a_replaced_link_counts_as_removed(name: str, index: int) -> None:
    with LinkEvents() as events, pytest.raises(LinkGone, match=f"{name}: the link was removed"):
        LinkPresence(events, name, index).check()
