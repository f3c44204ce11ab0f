# SPDX-License-Identifier: Apache-2.0
"""Markers of the links that ec2net has touched, by name: /run/ec2net/begun/LINK.json.

The marker of a removed link shows without any dump whether ec2net must remove its objects. A host
can see thousands of links that disappear before ec2net configured them.
"""

from collections.abc import Collection

from ec2net.core.state.run_dir import RunDir

_FOLDER = "begun"


def mark(run: RunDir, link: str) -> None:
    """Written before the first change for a link. Raises ``StateError``."""
    run.write(_file(link), {"link": link})


def is_marked(run: RunDir, link: str) -> bool:
    return run.read(_file(link)) is not None


def keep_only(run: RunDir, links: Collection[str]) -> None:
    """Delete the markers of removed links after their objects were removed. Raises ``StateError``."""
    kept = {_file(link) for link in links}
    for name in run.names(_FOLDER):
        if name not in kept:
            run.remove(name)


def _file(link: str) -> str:
    return f"{_FOLDER}/{link}.json"
