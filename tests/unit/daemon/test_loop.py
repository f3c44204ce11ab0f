# SPDX-License-Identifier: Apache-2.0
"""The daemon's loop with links that are new, renamed, or unchanged."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eni_facts import link, mac

from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config
from ec2net.core.daemon.loop import Loop
from ec2net.core.daemon.schedule import Work
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir

LISTED = frozenset({"local-ipv4s"})


class Host:
    """A loop on a host whose links the test sets, and the requests of the loop."""

    def __init__(self, folder: Path) -> None:
        self.links: tuple[Link, ...] = (link(0), link(1))
        self.listings: dict[Mac, frozenset[str]] = {}
        self.renewed = 0
        """How often the loop renewed the IMDS client's routes."""
        self.watched: list[int] = []
        nothing: Any = None
        engine: Any = SimpleNamespace(
            kernel=SimpleNamespace(links=lambda: self.links),
            listings=self.listings,
            environment=None,
            run=RunDir(folder),
        )
        place = Workplace(engine.run, LoadedConfig(Config()))
        self._loop = Loop(place, engine, *(nothing,) * 4, self._renew, lambda: None, booting=False)
        self.done: list[Work] = []
        passes: Any = SimpleNamespace(
            do=self.done.append, tracks={mac(0): None}, link_left=lambda mac: None
        )
        self._loop._passes = passes

    def _renew(self, _: object) -> None:
        self.renewed += 1

    def look(self) -> None:
        """Have the loop read the links."""
        events: Any = SimpleNamespace(watch=lambda indices: self.watched.extend(indices))
        self._loop._arrivals(events)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr("ec2net.core.host.udev.is_running", lambda: False)
    made = Host(tmp_path)
    made.look()
    return made


def test_a_known_link_is_not_a_new_eni(host: Host) -> None:
    """Each event of another link would cost a pass, and the ENI's listing of keys."""
    assert [work.macs for work in host.done] == [{mac(0), mac(1)}]
    host.listings.update({mac(0): LISTED, mac(1): LISTED})
    host.look()
    assert len(host.done) == 1
    assert host.listings == {mac(0): LISTED, mac(1): LISTED}


def test_a_new_link_has_its_keys_listed_again(host: Host) -> None:
    host.listings.update({mac(0): LISTED, mac(2): LISTED})
    host.links += (link(2),)
    host.look()
    assert host.done[-1].macs == {mac(2)}
    assert host.listings == {mac(0): LISTED}
    assert link(2).index in host.watched


def test_routes_to_imds_are_renewed_only_when_a_link_is_new_or_renamed(
    host: Host,
) -> None:
    assert host.renewed == 1
    host.look()
    assert host.renewed == 1
    host.links = (link(0), link(1, name="eth1"))
    host.look()
    host.look()
    assert host.renewed == 2
