# SPDX-License-Identifier: Apache-2.0
"""Files of ``ec2net early`` for the network managers where later ENIs are unmanaged."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import other_tools_host
import pytest
from eni_facts import eni, host, link, mac

from ec2net.backends.networkd import defaults, files
from ec2net.backends.networkd import prepare as prepare_networkd
from ec2net.backends.networkd.files import NetworkFile
from ec2net.backends.networkd.prepare import provide
from ec2net.backends.networkmanager import conf
from ec2net.backends.networkmanager.backend import _file
from ec2net.backends.networkmanager.observe import Seen
from ec2net.backends.networkmanager.prepare import prepare
from ec2net.core.cli.commands import early
from ec2net.core.config.files import LoadedConfig, Source
from ec2net.core.config.settings import (
    Config,
    EniSection,
    EniSettings,
    Manage,
    Match,
    Profile,
    Rival,
)
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import Standing
from ec2net.core.host.files import Environment
from ec2net.core.model.identity import OddName
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import boot_enis
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir

KUBERNETES = Config(profile=Profile.KUBERNETES)
ALL = ["80-ec2net.network", "80-ec2net-later.network"]


def workplace(folder: Path, config: Config) -> Workplace:
    return Workplace(RunDir(folder), LoadedConfig(config, Source.FILES))


@pytest.mark.parametrize(
    ("provided", "config", "masked"),
    [
        pytest.param({2: True, 3: True}, Config(), ALL, id="all have their files"),
        pytest.param({2: False, 3: True}, Config(), [], id="the first depends on its default"),
        pytest.param({2: False, 3: True}, KUBERNETES, ALL[1:], id="and later ones are not ours"),
        pytest.param({2: True, 3: False}, KUBERNETES, [], id="another depends on that of others"),
        pytest.param({3: False}, KUBERNETES, [], id="the first ENI is not the first link"),
    ],
)
def test_a_later_unmanaged_eni_gets_no_default(
    provided: dict[int, bool],
    config: Config,
    masked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    withhold = defaults.withhold

    def into(names: Collection[str] = defaults.DEFAULTS) -> None:
        withhold(names, tmp_path / "network")

    monkeypatch.setattr(defaults, "withhold", into)
    prepare_networkd.withhold(
        provided, later_apart=early.boot([], workplace(tmp_path, config)).later_apart
    )
    found = {path.name: path for path in (tmp_path / "network").glob("*")}
    assert sorted(found) == sorted(masked)
    assert all(path.readlink() == Path("/dev/null") for path in found.values())


WHOLE = EniSection(Match(mac=(mac(2),)), {"manage": Manage.IGNORE})


@pytest.mark.parametrize(
    ("config", "match"),
    [
        pytest.param(
            Config(sections=(WHOLE,)),
            "driver:ena,except:mac:06:ec:02:00:00:00,except:mac:06:ec:02:00:00:02",
            id="one is ignored: all others, whenever they come",
        ),
        pytest.param(
            KUBERNETES,
            "mac:06:ec:02:00:00:01,mac:06:ec:02:00:00:02",
            id="later ones are ignored: those of now",
        ),
        pytest.param(
            Config(profile=Profile.KUBERNETES, sections=(WHOLE,)),
            "mac:06:ec:02:00:00:01",
            id="both",
        ),
    ],
)
def test_networkmanager_gets_defaults_for_managed_enis(
    config: Config, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[conf.ConfFile] = []
    monkeypatch.setattr(conf, "in_place", lambda: None)
    monkeypatch.setattr(conf, "write", written.append)
    place = workplace(tmp_path, config)
    links = [link(n, permanent=True) for n in range(3)]
    boot_enis.record(place.run, {mac(n): (links[n],) for n in range(3)}, 3.0)
    prepare(early.boot(links, place))
    (file,) = written
    assert f"[connection-80-ec2net]\nmatch-device={match}\n" in file.content


def test_a_second_start_of_early_omits_enis_attached_since_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[conf.ConfFile] = []
    monkeypatch.setattr(conf, "in_place", lambda: None)
    monkeypatch.setattr(conf, "write", written.append)
    place = workplace(tmp_path, KUBERNETES)
    boot_enis.record(place.run, {mac(n): (link(n),) for n in range(2)}, -boot_enis.SETTLING)
    prepare(early.boot([link(n, permanent=True) for n in range(3)], place))
    assert "match-device=mac:06:ec:02:00:00:01\n" in written[0].content


WATCHED = EniSection(Match(mac=(mac(2),)), {"manage": Manage.OBSERVE})


@pytest.mark.parametrize("unmanaged", [(), (1,), (2,), (3,), (2, 3)])
@pytest.mark.parametrize(
    "config", [Config(), KUBERNETES, Config(sections=(WHOLE,)), Config(sections=(WATCHED,))]
)
def test_the_first_pass_accepts_networkmanagers_file_unchanged(
    config: Config, unmanaged: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when an unmanaged ENI was attached meanwhile, and with any links of NetworkManager: no
    change, so no reload. (The first pass that learned of an unmanaged ENI gave it a default.)"""
    written: list[conf.ConfFile] = []
    monkeypatch.setattr(conf, "in_place", lambda: None)
    monkeypatch.setattr(conf, "write", written.append)
    place = workplace(tmp_path, config)
    links = [link(n, permanent=True) for n in range(4)]
    boot_enis.record(place.run, {mac(n): (links[n],) for n in range(3)}, -boot_enis.SETTLING)
    prepare(early.boot(links[:3], place))
    facts = replace(host(*map(eni, range(4))), links=tuple(links))
    attached = boot_enis.when_attached(
        boot_enis.read(place.run), {mac(n): (links[n],) for n in range(4)}, 1000.0
    )
    intents = compute(replace(facts, attached=attached), config)
    reasons = dict.fromkeys(map(mac, unmanaged), "NetworkManager does not manage it")
    intents = intents.without(reasons, Standing.IGNORED)
    items = _file(intents.ready[0], intents, Snapshot(tuple(links)), Seen())
    assert items == tuple(written)


WANTS = "/etc/systemd/system"
CLOUD_SETUP = {
    f"{WANTS}/timers.target.wants/nm-cloud-setup.timer": "t",
    f"{WANTS}/multi-user.target.wants/NetworkManager.service": "n",
}


@pytest.mark.parametrize(
    ("coexist_with", "count"),
    [pytest.param((), 0, id="refused"), pytest.param((Rival.NM_CLOUD_SETUP,), 1, id="accepted")],
)
def test_networkmanager_gets_no_file_when_another_tool_configures_enis(
    coexist_with: tuple[Rival, ...], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its start NetworkManager lists no link as its own."""
    written: list[conf.ConfFile] = []
    monkeypatch.setattr(conf, "in_place", lambda: None)
    monkeypatch.setattr(conf, "write", written.append)
    shipped = [f"/usr/lib/systemd/system/{path.rpartition('/')[2]}" for path in CLOUD_SETUP]
    enabled = other_tools_host.host(links=CLOUD_SETUP, shipped=shipped)
    monkeypatch.setattr(early, "Environment", lambda: enabled)
    place = workplace(tmp_path, Config(eni=EniSettings(coexist_with=coexist_with)))
    prepare(early.boot([link(0, permanent=True)], place))
    assert len(written) == count


@pytest.mark.parametrize(
    ("coexist_with", "provided"),
    [pytest.param((), False, id="refused"), pytest.param((Rival.NET_UTILS,), True, id="accepted")],
)
def test_networkd_gets_no_file_when_another_tool_configures_enis(
    coexist_with: tuple[Rival, ...], provided: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[NetworkFile] = []
    monkeypatch.setattr(files, "write", written.append)
    rule = {"/usr/lib/udev/rules.d/99-vpc-policy-routes.rules": "x"}
    host = Environment(rule.get, lambda path: None, lambda path: ())
    monkeypatch.setattr(early, "Environment", lambda: host)
    place = workplace(tmp_path, Config(eni=EniSettings(coexist_with=coexist_with)))
    provide(early.boot([link(0, permanent=True)], place).enis[0])
    assert bool(written) is provided


def test_an_unprintable_link_name_does_not_affect_other_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No file can name it, and the first ENI that one can name is provided for."""
    monkeypatch.setattr("ec2net.core.host.udev.is_done_with", lambda _: True)
    links = (link(0, name=OddName("eth\n0")), link(1), link(2))
    kernel: Any = SimpleNamespace(links=lambda: links)
    place = workplace(tmp_path, Config())
    assert early._named_links(kernel, place, Deadline(60)) == [link(1), link(2)]
    assert "this name is not printable; ec2net writes no file for the link" in caplog.text


def test_without_a_printable_link_name_the_wait_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ec2net.core.host.udev.is_done_with", lambda _: True)
    kernel: Any = SimpleNamespace(links=lambda: (link(0, name=OddName("eth\n0")),))
    assert early._named_links(kernel, workplace(tmp_path, Config()), Deadline(0)) == []
