# SPDX-License-Identifier: Apache-2.0
"""One pass: read IMDS, take the host lock, plan and apply, publish; or publish that it failed.

``refresh``, ``start``, ``remove`` and the daemon call it. Their publisher decides the content and
place of the published data.

A pass holds no lock while it waits for IMDS: an ENI whose keys hang delays no other. The facts may
be old once the pass has the lock, so ``imds_reading`` drops those that another pass has read later.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias, TypeVar

from ec2net.core.engine.engine import Engine
from ec2net.core.model.errors import Ec2netError, LinkGone, Stopped
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.lock import HostLock

Published_co = TypeVar("Published_co", covariant=True)

Within: TypeAlias = Callable[[float, str], Deadline]
"""Makes a deadline of these seconds with this name, with all that may interrupt the caller."""


class Publisher(Protocol[Published_co]):
    """Publishes passes."""

    def publish(self, report: PassReport, only: Collection[Mac] | None) -> Published_co:
        """Count the pass and store what it found. The host lock is held. ``only``: the ENIs that
        the pass was for; None: all."""

    def publish_failure(self, error: Ec2netError) -> None:
        """A pass did not come to its end."""


def one_pass(
    engine: Engine,
    publisher: Publisher[Published_co],
    within: Within,
    what: str,
    *,
    only: Collection[Mac] | None = None,
    read: Collection[Mac] | None = None,
    without: frozenset[Mac] = frozenset(),
    check: Collection[Mac] | None = (),
    confirm: bool = False,
    lock_seconds: float | None = None,
    imds_seconds: float | None = None,
) -> Published_co:
    """The result of ``publisher`` for one pass, called ``what``. Raises the error that ended the
    pass.

    The wait for the host lock does not count for ``timeouts.pass``. ``only``: plan for these ENIs;
    ``read``: read IMDS for these (None: for all that are planned for); ``without``: want nothing of
    these; ``check``: verify these even if nothing of them is changed (None: all); ``confirm``: leave
    addresses that something removed to a pass that reads IMDS. ``lock_seconds``: wait so long
    for the host lock (None: ``timeouts.lock``). ``imds_seconds``: read IMDS for at most so long.
    """
    timeouts = engine.config.timeouts
    with failure_published(publisher):
        limit = within(timeouts.pass_, what)
        shorter = limit if imds_seconds is None else within(imds_seconds, "reading IMDS")
        reading = engine.read_imds(shorter, only if read is None else read)
        left = limit.remaining()
        seconds = timeouts.lock if lock_seconds is None else lock_seconds
        with HostLock(engine.run, within(seconds, "waiting for the host lock")):
            report = engine.run_pass(
                within(left, what),
                only,
                without=without,
                check=check,
                confirm=confirm,
                reading=reading,
            )
            return publisher.publish(report, only)


@contextmanager
def failure_published(publisher: Publisher[object]) -> Iterator[None]:
    """Publish an error of a pass or its preparation, except a signal or the end of its link."""
    try:
        yield
    except (Stopped, LinkGone):
        raise
    except Ec2netError as error:
        publisher.publish_failure(error)
        raise
