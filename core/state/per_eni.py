# SPDX-License-Identifier: Apache-2.0
"""State files of one ENI each: FOLDER/MAC.json below /run/ec2net, valid for one attachment.

A file says by ``ifindex`` for which attachment it is: an ENI with another link index was attached
anew, perhaps as another device, so what is remembered of the earlier one counts as nothing.
"""

from collections.abc import Collection
from typing import Any

from ec2net.core.model.identity import Mac
from ec2net.core.state.run_dir import RunDir


def file(folder: str, mac: Mac) -> str:
    """The name of an ENI's file, for ``RunDir``."""
    return f"{folder}/{mac}.json"


def read(run: RunDir, folder: str, mac: Mac, ifindex: int) -> dict[str, Any] | None:
    """What is remembered of this attachment; None if nothing is."""
    data = run.read(file(folder, mac))
    return data if data is not None and data.get("ifindex") == ifindex else None


def keep_only(run: RunDir, attached: Collection[Mac]) -> None:
    """Delete the files of ENIs that are gone, in every folder. Raises ``StateError``."""
    for folder in run.folders():
        for name in run.names(folder):
            mac = _mac(name)
            if mac is not None and mac not in attached:
                run.remove(name)


def _mac(name: str) -> Mac | None:
    try:
        return Mac.parse(name.rpartition("/")[2].removesuffix(".json"))
    except ValueError:
        return None
