# SPDX-License-Identifier: Apache-2.0
"""State files of one ENI each: FOLDER/MAC.json below /run/ec2net, valid for one attachment.

A record has the link index (``ifindex``) of the attachment that it is of. The record counts while a
link with this index has the ENI's MAC: an ENI with another link index was attached anew, perhaps as
another device. While several links have the MAC, the record of one of them stays valid.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol, TypeVar

from ec2net.core.model.identity import Mac
from ec2net.core.state import codec
from ec2net.core.state.run_dir import RunDir


class OfAttachment(Protocol):
    """A record of one attachment: a dataclass."""

    @property
    def ifindex(self) -> int: ...


_R = TypeVar("_R", bound=OfAttachment)


def file(folder: str, mac: Mac) -> str:
    """The name of an ENI's file, for ``RunDir``."""
    return f"{folder}/{mac}.json"


def read(run: RunDir, folder: str, kind: type[_R]) -> dict[Mac, _R]:
    """All records of a kind, of whichever attachment."""
    found = {mac: codec.read(run, name, kind) for mac, name in _files(run, folder)}
    return {mac: record for mac, record in found.items() if record is not None}


def valid(records: Mapping[Mac, _R], links: Mapping[Mac, Collection[int]]) -> dict[Mac, _R]:
    """The records of present attachments. ``links``: the indices of all links with an ENI's MAC."""
    return {mac: one for mac, one in records.items() if one.ifindex in links.get(mac, ())}


def write(
    run: RunDir, folder: str, records: Mapping[Mac, OfAttachment], before: Mapping[Mac, object]
) -> None:
    """Store what differs from ``before``. Raises ``StateError``."""
    for mac, record in records.items():
        if before.get(mac) != record:
            codec.write(run, file(folder, mac), record)


def keep_only(run: RunDir, attached: Collection[Mac]) -> None:
    """Delete the files of ENIs that are gone, in every folder. Raises ``StateError``."""
    for folder in run.folders():
        for mac, name in _files(run, folder):
            if mac not in attached:
                run.remove(name)


def _files(run: RunDir, folder: str) -> Iterator[tuple[Mac, str]]:
    for name in run.names(folder):
        try:
            yield Mac.parse(name.rpartition("/")[2].removesuffix(".json")), name
        except ValueError:
            continue
