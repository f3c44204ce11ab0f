# SPDX-License-Identifier: Apache-2.0
"""Plans that were rolled back, by ENI: /run/ec2net/held.json.

A hold is in force while the intent of the ENI is the same as when its plan failed. A fingerprint of
the wanted items shows that. Passes plan and show the held changes, do not make them, and end with
status 1. Another intent, a detach or ``refresh --retry`` ends a hold. It never prevents changes of
other ENIs, ``remove`` or the removal of a detached ENI's objects.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.identity import Mac
from ec2net.core.runtime.clock import date
from ec2net.core.state import codec
from ec2net.core.state.run_dir import RunDir

HELD = "held.json"


@dataclass(frozen=True, slots=True)
class Hold:
    """The changes on hold for one ENI, with the time and the reason."""

    fingerprint: str
    since: str
    """As ISO 8601, UTC."""
    reason: str
    changes: tuple[str, ...]
    """The changes that were rolled back, each as in a plan."""

    def problem(self, name: str) -> Ec2netError:
        """The problem of each pass during the hold; ``name``: the ENI's link."""
        return Ec2netError(
            f"changes are on hold since {date(self.since)}: {self.reason}",
            subject=name,
            remedy="changes resume when the configuration changes, or run 'ec2net refresh --retry'",
        )


def in_force(
    holds: Mapping[Mac, Hold],
    fingerprint: Callable[[Mac], str | None],
    changing: Collection[Mac | None],
) -> dict[Mac, Hold]:
    """The holds on ENIs of which a plan would change something, and the same as when it failed."""
    return {
        mac: hold
        for mac, hold in holds.items()
        if mac in changing and fingerprint(mac) == hold.fingerprint
    }


def after(
    before: Mapping[Mac, Hold],
    held: Mapping[Mac, Hold],
    planned: Collection[Mac],
    attached: Collection[Mac],
) -> dict[Mac, Hold]:
    """The ``held`` ones, and those of attached ENIs that were not ``planned``."""
    others = {m: hold for m, hold in before.items() if m in attached and m not in planned}
    return {**others, **held}


def release(run: RunDir) -> None:
    """Forget all holds. Raises ``StateError``."""
    run.remove(HELD)


def read(run: RunDir) -> dict[Mac, Hold]:
    return codec.read(run, HELD, dict[Mac, Hold]) or {}


def write(run: RunDir, holds: Mapping[Mac, Hold]) -> None:
    """Writes nothing if nothing differs. Raises ``StateError``."""
    if holds:
        codec.write(run, HELD, holds)
    elif run.content(HELD):
        release(run)
