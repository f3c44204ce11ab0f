# SPDX-License-Identifier: Apache-2.0
"""Publish a pass in the metrics file and the status file, under the host lock."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from ec2net.core.model.errors import Ec2netError, StateError
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import metrics, quiet_host, status_file
from ec2net.core.report.status_file import Outcome
from ec2net.core.state import last_pass
from ec2net.core.state.config_in_force import Workplace


class StatusPublisher:
    """``timed``: the timer may skip the pass while the host is quiet. ``lasting``: problems of an
    earlier pass that this pass does not check."""

    def __init__(
        self, place: Workplace, *, timed: bool = False, lasting: Iterable[Ec2netError] = ()
    ) -> None:
        self._place = place
        self._timed = timed
        self._lasting = tuple(lasting)

    def publish(self, report: PassReport, only: Collection[Mac] | None = None) -> Outcome:
        report = metrics.count(self._place, report, whole=only is None)
        if self._lasting:
            texts = {str(problem): problem for problem in (*self._lasting, *report.problems)}
            report = replace(report, problems=tuple(texts.values()))
        outcome = status_file.publish(self._place, report, only=only)
        if only is None:
            last_pass.mark(self._place.run)
        if self._timed:
            quiet_host.mark_checked(self._place.run, outcome.document)
        return outcome

    def publish_failure(self, error: Ec2netError) -> None:
        status_file.publish_failure(self._place.run, error)
        with suppress(StateError):
            metrics.count_failure(self._place, error)
