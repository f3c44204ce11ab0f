# SPDX-License-Identifier: Apache-2.0
"""The daemon's state for ``status``: /run/ec2net/resident.json, readable for every user.

Its times are of the wall clock, for people; no decision uses them. The file changes only when a
state changes.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ec2net.core.daemon.sole import manager_runs
from ec2net.core.report import as_json
from ec2net.core.runtime.clock import now
from ec2net.core.state.run_dir import RunDir

if TYPE_CHECKING:  # a program that only reads the file needs no engine
    from ec2net.core.daemon.eni_state import EniTrack

FILE = "resident.json"


class Published:
    """The published states. Each has the time at which ec2net first saw it."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._started = now()
        self._since: dict[tuple[object, ...], str] = {}

    def write(self, tracks: Iterable["EniTrack"], imds: str, fight: str) -> None:
        """``imds``: what is wrong with it, empty if nothing is; ``fight``: why repairs wait,
        empty if they do not. Raises ``StateError``."""
        since: dict[tuple[object, ...], str] = {}
        rows = []
        for track in sorted(tracks, key=lambda track: track.mac):
            key = (track.mac, track.state, track.since)
            since[key] = self._since.get(key) or now()
            rows.append(
                {
                    "mac": str(track.mac),
                    "state": track.state.value,
                    "since": since[key],
                    "reason": track.reason,
                }
            )
        self._since = since
        self._run.write(
            FILE,
            {
                "version": as_json.VERSION,
                "pid": os.getpid(),
                "started": self._started,
                "imds": imds,
                "fight": fight,
                "enis": rows,
            },
        )


def published(run: RunDir) -> dict[str, Any] | None:
    """The state of the manager that runs; None if none does."""
    return run.read(FILE) if manager_runs(run) else None
