# SPDX-License-Identifier: Apache-2.0
"""One way in which the kernel does not do what is intended."""

from ec2net.core.model.dataclass import dataclass
from ec2net.core.model.identity import Mac


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which the kernel does not do what is intended."""

    mac: Mac | None
    """The ENI; None for what a gone one left behind."""
    text: str
    kind: str = ""
    """Findings of one kind about one ENI are reported together, with their number; empty: of no kind."""
    remedy: str = ""
    """The remedy; empty if verify knows none."""

    def describe(self) -> str:
        return self.text
