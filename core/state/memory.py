# SPDX-License-Identifier: Apache-2.0
"""The state of earlier passes: read once at the start of a pass, and written once at its end.

Only state that must survive a kill is written in between: journals, marks of touched links, and the
ENIs of the boot.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef
from ec2net.core.state import boot_enis, drift_record, holds, last_known, per_eni, touched_links
from ec2net.core.state.boot_enis import AtBoot
from ec2net.core.state.drift_record import Record
from ec2net.core.state.holds import Hold
from ec2net.core.state.last_known import LastKnown
from ec2net.core.state.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of a host between passes. A record of an ENI counts for one attachment."""

    last_known: LastKnown = field(default_factory=LastKnown)
    drift: Mapping[Mac, Record] = field(default_factory=dict)
    holds: Mapping[Mac, Hold] = field(default_factory=dict)
    boot: AtBoot | None = None

    @classmethod
    def read(cls, run: RunDir) -> "Memory":
        return cls(
            last_known.read(run),
            per_eni.read(run, drift_record.FOLDER, Record),
            holds.read(run),
            boot_enis.read(run),
        )

    def drift_of(self, mac: Mac, ifindex: int) -> Record:
        """The drift record of an ENI while it has this link."""
        return per_eni.valid(self.drift, {mac: [ifindex]}).get(mac, Record(ifindex))

    def write(self, run: RunDir, before: "Memory") -> None:
        """Store what differs from ``before``. Raises ``StateError``."""
        if self.boot != before.boot:
            boot_enis.write(run, self.boot)
        holds.write(run, self.holds)
        last_known.write(run, self.last_known, before.last_known)
        per_eni.write(run, drift_record.FOLDER, self.drift, before.drift)


def keep_only(run: RunDir, attached: Mapping[Mac, Collection[LinkRef]]) -> None:
    """Delete the files of ENIs and links that are gone. Raises ``StateError``."""
    per_eni.keep_only(run, attached)
    touched_links.keep_only(run, {link.name for same in attached.values() for link in same})
