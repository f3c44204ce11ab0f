# SPDX-License-Identifier: Apache-2.0
"""The last known good facts of each ENI: /run/ec2net/facts/MAC.json, and the primary ENI.

They are valid for one attachment. While several links have an ENI's MAC, ec2net cannot know which
of them is the ENI; the stored facts stay in force.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ec2net.core.model.facts import (
    IMMUTABLE,
    Absent,
    EniFacts,
    ImdsFacts,
    Link,
    Reading,
    Unknown,
    Value,
)
from ec2net.core.model.identity import Mac
from ec2net.core.state import codec, per_eni
from ec2net.core.state.run_dir import RunDir

_FOLDER = "facts"
_PRIMARY = "primary.json"


_UNTOLD = Unknown("an older version did not store it")


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary ENI's MAC: the same for the life of the instance."""

    mac: Mac


@dataclass(frozen=True, slots=True)
class KnownFacts(EniFacts):
    """The facts of one attachment."""

    ifindex: int
    once: Reading[tuple[str, ...]] = _UNTOLD
    """The fields that were read only once so far (``Value.once``)."""
    configured_as: Reading[Mapping[str, str]] = _UNTOLD
    """The identity by which ec2net configured the ENI; absent if ec2net did not."""

    @classmethod
    def of(
        cls, eni: EniFacts, ifindex: int, configured_as: Mapping[str, str] | None = None
    ) -> "KnownFacts":
        readings = _readings(eni)
        once = (name for name, one in readings.items() if isinstance(one, Value) and one.once)
        as_ = Absent() if configured_as is None else Value(configured_as)
        return cls(**readings, ifindex=ifindex, once=Value(tuple(once)), configured_as=as_)

    @property
    def facts(self) -> EniFacts:
        readings = _readings(self)
        for name in self.once.value if isinstance(self.once, Value) else IMMUTABLE:
            if isinstance(one := readings.get(name), Value):
                readings[name] = replace(one, once=True)
        return EniFacts(**readings)


def _readings(eni: EniFacts) -> dict[str, Any]:
    return {one.name: getattr(eni, one.name) for one in fields(EniFacts)}


@dataclass(frozen=True, slots=True)
class LastKnown:
    """The values that earlier passes read from IMDS."""

    primary: Mac | None = None
    enis: Mapping[Mac, KnownFacts] = field(default_factory=dict)
    """The facts of any attachment."""

    def of(self, links: Mapping[Mac, Collection[int]]) -> dict[Mac, EniFacts]:
        """The facts of ENIs that are still attached by the same link index."""
        return {mac: known.facts for mac, known in per_eni.valid(self.enis, links).items()}

    def configured_as(self, links: Mapping[Mac, Collection[int]]) -> dict[Mac, Mapping[str, str]]:
        """The identities by which ec2net configured ENIs that are still attached by the same link."""
        known = per_eni.valid(self.enis, links).items()
        told = ((mac, one.configured_as) for mac, one in known)
        return {mac: one.value for mac, one in told if isinstance(one, Value)}

    def after(
        self,
        facts: ImdsFacts,
        links: Mapping[Mac, Collection[int]],
        configured_as: Mapping[Mac, Mapping[str, str]],
    ) -> "LastKnown":
        """With ``facts`` of attached ENIs. An unread primary does not erase the known one."""
        primary = facts.primary.value if isinstance(facts.primary, Value) else self.primary
        news = {
            eni.mac: KnownFacts.of(eni, index, configured_as.get(eni.mac))
            for eni in facts.enis
            if len(indices := links.get(eni.mac, ())) == 1
            for index in indices
        }
        return LastKnown(primary, {**self.enis, **news})

    def with_silent_enis(self, links: Iterable[Link], drivers: Sequence[str]) -> tuple[Link, ...]:
        """``links`` with known ENIs as such whose driver cannot be asked just now.

        A device in a reset does not answer; taken for gone, all of it would be removed. ``drivers``:
        those whose links can be ENIs.
        """
        return tuple(
            replace(link, driver=drivers[0]) if not link.driver and self._was_eni(link) else link
            for link in links
        )

    def _was_eni(self, link: Link) -> bool:
        """Whether an earlier pass knew this very attachment as an ENI."""
        return link.mac is not None and link.mac in self.of({link.mac: [link.index]})


def read(run: RunDir) -> LastKnown:
    primary = codec.read(run, _PRIMARY, Primary)
    enis = per_eni.read(run, _FOLDER, KnownFacts)
    return LastKnown(
        primary.mac if primary is not None else None,
        {mac: known for mac, known in enis.items() if known.mac == mac},
    )


def write(run: RunDir, known: LastKnown, before: LastKnown) -> None:
    """Store what differs from ``before``. Raises ``StateError``."""
    if known.primary is not None and known.primary != before.primary:
        codec.write(run, _PRIMARY, Primary(known.primary))
    per_eni.write(run, _FOLDER, known.enis, before.enis)
