# SPDX-License-Identifier: Apache-2.0
"""The verbs of the NetworkManager backend: its calls to NetworkManager, and their results."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.backend import NetworkManagerBackend
from ec2net.backends.networkmanager.conf import ConfFile
from ec2net.backends.networkmanager.device import Device, Routes, State
from ec2net.backends.networkmanager.items import Activation, AppliedMtu
from ec2net.backends.networkmanager.observe import Seen
from ec2net.backends.networkmanager.typed import Typed
from ec2net.core.config.settings import Config, EniSettings
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.host.files import Environment
from ec2net.core.model.objects import MAIN_TABLE, Address, KernelObject, Rule
from ec2net.core.model.plan import Action, Change, Item, Plan
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.backend import Goal, Host, Observed
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

FACTS = host(eni(0), eni(1), eni(2), links=(link(0), link(1), link(2)))
WHOLE = compute(FACTS, Config(eni=EniSettings(mtu=1500)))
SNAPSHOT = Snapshot(FACTS.links)


def intent(number: int, whole: HostIntent = WHOLE) -> EniIntent:
    return next(one for one in whole.ready if one.mac == mac(number))


def device(number: int, table: int, **values: Any) -> Device:
    """Activated, with its leased routes in ``table``."""
    base = intent(number).base[0]
    network = Typed("s", str(base.network.network_address))
    route = {"dest": network, "prefix": Typed("u", 24), "table": Typed("u", table)}
    address = {"address": Typed("s", str(base.ip)), "prefix": Typed("u", 24)}
    return Device(
        f"/device/{number}",
        State.ACTIVATED,
        connection=f"/profile/{number}",
        active=f"/active/{number}",
        applied={"ipv4": {}},
        routes=(route,),
        addresses=(address,),
        **values,
    )


class Kernel:
    """Accepts every change; a dump returns the test's objects."""

    protocol = 236
    marks_addresses = True

    def __init__(self, *there: KernelObject) -> None:
        self.there = there
        self.made: list[tuple[str, KernelObject]] = []

    def snapshot(self, drivers: Iterable[str]) -> Snapshot:
        addresses = tuple(Found(item, 236) for item in self.there if isinstance(item, Address))
        rules = tuple(Found(item, 236) for item in self.there if isinstance(item, Rule))
        return replace(SNAPSHOT, addresses=addresses, rules=rules)

    def addresses(self) -> frozenset[object]:
        return frozenset(one.ip for number in range(3) for one in intent(number).base)

    def add(self, item: KernelObject) -> None:
        self.made.append(("add", item))

    def replace(self, item: KernelObject) -> None:
        self.made.append(("replace", item))

    def remove(self, item: KernelObject) -> None:
        self.made.append(("remove", item))


class Manager:
    """NetworkManager: every activation succeeds at once."""

    def __init__(self) -> None:
        self.activated: list[str] = []

    def activate(self, profile: str, path: str, deadline: Deadline) -> str:
        self.activated.append(profile)
        return f"{path}/anew"

    def await_addresses(self, path: str, active: str, deadline: Deadline) -> None:
        pass


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkManagerBackend:
    monkeypatch.setattr(conf, "in_place", lambda: None)
    kernel: Any = Kernel()
    return NetworkManagerBackend(Host(kernel, RunDir(tmp_path)))


def seen(devices: dict[int, Device]) -> Observed:
    """As ``observe`` returns it."""
    own = Seen({mac(number): found for number, found in devices.items()})
    return Observed(SNAPSHOT, own=own)


def of_the_manager(items: Iterable[Item]) -> list[Item]:
    return [item for item in items if isinstance(item, Activation | AppliedMtu | ConfFile)]


def test_only_the_primarys_leased_routes_belong_in_main(
    backend: NetworkManagerBackend,
) -> None:
    both = seen({0: device(0, MAIN_TABLE), 1: device(1, MAIN_TABLE)})
    for number, where in ((0, Routes.MAIN), (1, Routes.PARKED)):
        one = intent(number)
        file, *rest = of_the_manager(backend.wanted(one, WHOLE, both))
        assert isinstance(file, ConfFile)
        assert rest == [
            Activation(one.link, one.mac, where),
            AppliedMtu(one.link, one.mac, 1500),
        ]


def test_ec2net_does_not_call_networkmanager_before_it_knows_the_primary(
    backend: NetworkManagerBackend,
) -> None:
    """The file that parks leases names the primary as an exception: without it none is written."""
    unknown = replace(WHOLE, primary_link=None)
    wanted = backend.wanted(intent(1), unknown, seen({1: device(1, MAIN_TABLE)}))
    assert of_the_manager(wanted) == []
    assert any(isinstance(item, Address) for item in wanted)


def test_an_mtu_from_the_profile_stays_unchanged(backend: NetworkManagerBackend) -> None:
    own = replace(device(1, 9999), applied={"802-3-ethernet": {"mtu": Typed("u", 1400)}})
    items = of_the_manager(backend.wanted(intent(1), WHOLE, seen({1: own})))
    assert not [item for item in items if isinstance(item, AppliedMtu)]


def test_a_pass_restores_what_an_activation_removed_from_the_link(
    backend: NetworkManagerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was computed while all items existed. Changes of other ENIs are applied as
    planned."""
    before = seen({0: device(0, MAIN_TABLE), 1: device(1, MAIN_TABLE), 2: device(2, 9999)})
    one, other = intent(1), intent(2)
    goals = {i.mac: Goal(i, backend.wanted(i, WHOLE, before)) for i in (one, other)}
    kernel: Any = Kernel(*one.rules)  # rules stay when a link is taken down, addresses do not
    backend.host = replace(backend.host, kernel=kernel)
    manager: Any = Manager()
    monkeypatch.setattr(backend, "_talk", lambda: manager)
    target = Activation(one.link, one.mac, Routes.PARKED)
    elsewhere = Address(other.link, other.further[0])
    plan = Plan(
        (
            Change(Action.REPLACE, target, one.mac, replace(target, routes=Routes.MAIN)),
            Change(Action.ADD, elsewhere, other.mac),
        )
    )
    applied = backend.apply(plan, goals, before, Deadline(5))
    assert applied.failed == ()
    assert manager.activated == ["/profile/1"]
    added = [item for verb, item in kernel.made if verb == "add"]
    assert added.count(elsewhere) == 1
    assert {Address(one.link, further) for further in one.further} <= set(added)
    assert not set(one.rules) & set(added)
    assert {_index(item) for item in added} == {one.link.index, other.link.index}


def _index(item: KernelObject) -> int:
    assert not isinstance(item, Rule)
    return item.link.index


def test_an_activation_without_effect_is_reported_and_not_repeated(
    backend: NetworkManagerBackend,
) -> None:
    one = intent(1)
    stuck = device(1, MAIN_TABLE)
    before = seen({1: stuck})
    assert backend.check(one, before) == ()
    attempts.note(backend.host.run, one.mac, stuck.active)
    own = replace(before.own, activated={one.mac})
    items = of_the_manager(backend.wanted(one, WHOLE, replace(before, own=own)))
    assert not [item for item in items if isinstance(item, Activation)]
    [told] = backend.check(one, before)
    assert "has the leased routes of ens6 in the main table" in told
    assert backend.check(one, seen({1: device(1, 9999)})) == ()


def test_the_file_stays_until_no_eni_belongs_to_networkmanager(
    backend: NetworkManagerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file, *_] = backend.wanted(intent(1), WHOLE, seen({}))
    assert backend.leftovers([mac(1)], []) == ()
    monkeypatch.setattr(conf, "in_place", lambda: file)
    assert backend.leftovers([mac(1)], [mac(2)]) == ()
    assert backend.leftovers([mac(1)], []) == (file,)
    foreign = ConfFile(Path("/run/NetworkManager/conf.d/other.conf"), "# by hand\n")
    monkeypatch.setattr(conf, "in_place", lambda: foreign)
    assert backend.leftovers([mac(1)], []) == ()


_WANTED = {"/etc/systemd/system/multi-user.target.wants/NetworkManager.service": "/lib/..."}


@pytest.mark.parametrize(
    ("links", "kept"),
    [
        pytest.param(_WANTED, True, id="enabled"),
        pytest.param(
            {**_WANTED, "/etc/systemd/system/NetworkManager.service": "/dev/null"},
            True,
            id="masked",
        ),
        pytest.param({}, False, id="disabled"),
    ],
)
def test_the_file_stays_while_a_stopped_networkmanager_can_start_again(
    backend: NetworkManagerBackend,
    links: dict[str, str],
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pass during a restart of NetworkManager, or while it is masked, moved the leases' routes
    into main."""
    environment = Environment(
        lambda path: "[Unit]" if path.endswith("/NetworkManager.service") else None,
        links.get,
        lambda path: (),
    )
    [file, *_] = backend.wanted(intent(1), WHOLE, seen({}))
    monkeypatch.setattr(conf, "in_place", lambda: file)
    backend.host = replace(backend.host, environment=environment)
    assert backend.leftovers([mac(1)], []) == (() if kept else (file,))
