# SPDX-License-Identifier: Apache-2.0
"""A record of what was observed.

A record holds the IMDS keys that the engine reads (nothing else of IMDS: no credentials, no
user data) and the kernel's links, addresses, routes and rules. A bare tree of IMDS will do
too, also as other tools write it; the links are then assumed to be there, one for each MAC.
"""

import os
import platform
from typing import Any

from ec2net import __version__
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.imds.source import Imds
from ec2net.core.model.facts import Reading, Unknown, Value
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.report import as_json
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.codec import encode


class RecordingImds:
    """Passes requests on and keeps what came back."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds
        self.tree: dict[str, Any] = {}
        self.unread: dict[str, str] = {}

    @property
    def requests_made(self) -> int:
        return self._imds.requests_made

    @property
    def heard(self) -> bool:
        return self._imds.heard

    def new_pass(self) -> None:
        self._imds.new_pass()

    def expect(self, enis: int) -> None:
        self._imds.expect(enis)

    def answers(self, path: str, deadline: Deadline) -> bool:
        return self._imds.answers(path, deadline)

    def get(self, path: str, deadline: Deadline) -> Reading[str]:
        reading = self._imds.get(path, deadline)
        if isinstance(reading, Unknown):
            self.unread[path] = reading.reason
        elif isinstance(reading, Value):
            node = self.tree
            *folders, key = path.split("/")
            for folder in folders:
                node = node.setdefault(folder, {})
            if key:  # empty after a listing's slash
                node[key] = reading.value
        return reading


def record(
    view: View,
    imds: RecordingImds,
    config: dict[str, Any],
    environment: Environment,
    status: dict[str, Any] | None,
) -> dict[str, Any]:
    """The document that ``plan --imds`` reads.

    Besides, for who looks into a bug: what host it is, who has which link, and ``status``, what
    was last published.
    """
    release = environment.keys("/etc/os-release")
    return {
        "version": as_json.VERSION,
        "ec2net": __version__,
        "imds": imds.tree,
        "unread": imds.unread,
        "kernel": _kernel(view.snapshot),
        "attached": {str(mac): when.value for mac, when in view.facts.attached.items()},
        "config": config,
        "host": {
            "kernel": os.uname().release,
            "os": " ".join(filter(None, (release.get("ID"), release.get("VERSION_ID")))),
            "python": platform.python_version(),
        },
        "choices": {
            str(mac): {"backend": choice.backend, "reasons": list(choice.reasons)}
            for mac, choice in view.choices.items()
        },
        "status": status,
    }


def _kernel(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "links": [encode(link) for link in snapshot.links],
        "addresses": [
            {
                "link": found.item.link.index,
                "address": str(found.item.interface),
                "protocol": found.protocol,
            }
            for found in snapshot.addresses
        ],
        "routes": [
            {**encode(f.item), "link": f.item.link.index, "protocol": f.protocol}
            for f in snapshot.routes
        ],
        "rules": [{**encode(f.item), "protocol": f.protocol} for f in snapshot.rules],
        "further_rules": sorted(map(list, snapshot.further_rules)),
        "accept_ra": {str(s.link.index): s.value for s in snapshot.accept_ra},
    }
