# SPDX-License-Identifier: Apache-2.0
"""Changes on each link that the kernel cannot mark: /run/ec2net/journal/MAC.json.

Settings of a link carry no mark: the journal keeps their former values, so that ec2net can restore
them. A journal holds for one attachment. It is written before the change: a kill in between leaves
at most one entry too many. Without the state directory, MTU, group and accept_ra stay unchanged
when ec2net gives up an ENI, since nothing else has their former values.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import AnyInterface, Setting
from ec2net.core.state import codec, per_eni
from ec2net.core.state.run_dir import RunDir

_FOLDER = "journal"
RESTORED = (Setting.MTU, Setting.GROUP, Setting.ACCEPT_RA)
"""Settings that ec2net restores; a link that ec2net set up stays up."""

_INT_MAX = 2**31 - 1


@dataclass(slots=True)
class Journal:
    """The unmarked changes on one link."""

    ifindex: int
    before: dict[Setting, int] = field(default_factory=dict)
    """The value that a setting had before the first change."""
    altnames: set[str] = field(default_factory=set)
    addresses: set[AnyInterface] = field(default_factory=set)
    """Only addresses that the kernel cannot mark. The prefix length counts: an IPv4 address can be
    on a link with several prefix lengths, each of another program."""

    def with_all_of(self, other: "Journal") -> "Journal":
        """Both together; where they differ, this one."""
        return Journal(
            self.ifindex,
            {**other.before, **self.before},
            self.altnames | other.altnames,
            self.addresses | other.addresses,
        )

    @property
    def empty(self) -> bool:
        return not (self.before or self.altnames or self.addresses)


class Journals:
    """The journals of all links, under /run/ec2net/journal."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._missing: dict[Mac, Journal] = {}

    def compare(self, mac: Mac, journal: Journal, there: Collection[str | AnyInterface]) -> None:
        """Note which journaled names and addresses are missing.

        ``strike_out`` removes them from the journal, unless ``expect`` names them before. A pass
        that was killed after a removal leaves such entries, and another program may use the names
        later.
        """
        self._missing[mac] = Journal(
            journal.ifindex,
            altnames=journal.altnames.difference(one for one in there if isinstance(one, str)),
            addresses=journal.addresses.difference(there if journal.addresses else ()),
        )

    def expect(self, mac: Mac, what: str | AnyInterface) -> None:
        """It is being made: its entry stays."""
        if mac in self._missing:
            self._missing[mac].altnames.discard(str(what))
            if not isinstance(what, str):
                self._missing[mac].addresses.discard(what)

    def read(self, mac: Mac, ifindex: int) -> Journal:
        """The journal of a link; an empty one if there is none for this attachment."""
        found = codec.read(self._run, per_eni.file(_FOLDER, mac), Journal)
        if found is None or found.ifindex != ifindex:
            return Journal(ifindex)
        # A number beyond these does not fit into the kernel's message.
        before = {s: value for s, value in found.before.items() if 0 <= value <= _INT_MAX}
        return Journal(ifindex, before, {*found.altnames}, {*found.addresses})

    def addresses(self, links: Iterable[Link]) -> frozenset[tuple[int, AnyInterface]]:
        """The entries of all journals, with the index of their link."""
        there = set(self._run.names(_FOLDER))
        return frozenset(
            (link.index, interface)
            for link in links
            if link.mac is not None and per_eni.file(_FOLDER, link.mac) in there
            for interface in self.read(link.mac, link.index).addresses
        )

    def write(self, mac: Mac, journal: Journal) -> None:
        """Raises ``StateError``."""
        if journal.empty:
            self._run.remove(per_eni.file(_FOLDER, mac))
        else:
            codec.write(self._run, per_eni.file(_FOLDER, mac), journal)

    def strike_out(self) -> None:
        """Remove missing names and addresses that were not expected. Raises ``StateError``."""
        for mac, missing in self._missing.items():
            if missing.empty:
                continue
            journal = self.read(mac, missing.ifindex)
            journal.altnames -= missing.altnames
            journal.addresses -= missing.addresses
            self.write(mac, journal)
        self._missing.clear()
