# SPDX-License-Identifier: Apache-2.0
"""``set-hostname``: only a name that IMDS gives becomes the host's."""

from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ec2net.core.cli.commands import set_hostname
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.model.facts import Absent, Reading, Unknown, Value


class Host:
    """A host with this ``/etc/hostname``; returns the arguments of ``hostnamectl``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._options = Namespace(run_dir=folder / "run", config_root=folder)
        self._monkeypatch = monkeypatch
        self.file = folder / "hostname"
        self.told: list[list[str]] = []
        monkeypatch.setattr(set_hostname, "_FILE", self.file)
        monkeypatch.setattr(set_hostname, "output", lambda words, _: self.told.append(words))

    def __call__(self, reading: Reading[str]) -> ExitStatus:
        imds = SimpleNamespace(get=lambda *_: reading)
        engine = SimpleNamespace(imds=imds)
        self._monkeypatch.setattr(set_hostname, "opened", lambda *_: nullcontext(engine))
        return set_hostname.run(self._options)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize("before", [None, "", " \n"])
def test_a_host_without_a_name_gets_the_name_from_imds(host: Host, before: str | None) -> None:
    if before is not None:
        host.file.write_text(before)
    assert host(Value("IP-10-0-0-4.ec2.internal\n")) is ExitStatus.DONE
    wanted = ["hostnamectl", "set-hostname", "--static", "ip-10-0-0-4.ec2.internal"]
    assert host.told == [wanted]


@pytest.mark.parametrize(
    "reading",
    [
        Value(""),
        Value("-x"),
        Value("a..b"),
        Value("<html>"),
        Value("two words"),
        Value("x" * 65),
        Absent(),
        Unknown("timed out"),
    ],
)
def test_an_invalid_hostname_is_an_error_and_is_not_set(host: Host, reading: Reading[str]) -> None:
    with pytest.raises(Ec2netError, match="IMDS reports no usable local-hostname"):
        host(reading)
    assert host.told == []


def test_an_existing_hostname_stays(host: Host) -> None:
    host.file.write_text("mine\n")
    imds: Any = Value("ip-10-0-0-4")
    assert host(imds) is ExitStatus.DONE
    assert host.told == []
