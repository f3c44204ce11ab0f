# SPDX-License-Identifier: Apache-2.0
"""``adopt``: its output before it begins, and how NetworkManager gets its links back."""

import json
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from ec2net.core.cli.commands import adopt
from ec2net.core.migration.steps import Command
from ec2net.core.runtime.command import CommandFailed
from ec2net.core.runtime.deadline import Deadline

STEPS = (Command(("systemctl", "stop", "NetworkManager.service")),)
TAKE_BACK = "To undo this, run: ec2net adopt networkd --undo --apply\n"


@pytest.mark.parametrize(
    ("undo", "apply", "ends"),
    [
        pytest.param(False, True, TAKE_BACK, id="done: how to take it back"),
        pytest.param(True, True, "run systemctl stop NetworkManager.service\n", id="reverted"),
        pytest.param(False, False, "Add --apply to run them.\n", id="a plan only"),
    ],
)
def test_the_plan_names_the_way_back_before_any_change(
    undo: bool, apply: bool, ends: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Afterwards there may be no terminal to print to."""
    adopt._tell(Namespace(json=False, undo=undo), STEPS, (), apply=apply)
    assert capsys.readouterr().out.endswith(ends)


def test_json_has_the_steps_too(capsys: pytest.CaptureFixture[str]) -> None:
    adopt._tell(Namespace(json=True, undo=False), STEPS, ("a remark",), apply=True)
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == ["run systemctl stop NetworkManager.service"]
    assert told["remarks"] == ["a remark"]


UP = ("nmcli", "--wait", "10", "connection", "up", "1-2-3", "ifname", "ens6")
CONNECT = ("nmcli", "--wait", "10", "device", "connect", "ens6")
LOST = "30 (disconnected)\n"


@pytest.mark.parametrize(
    ("state", "fails", "asked"),
    [
        pytest.param("100 (connected)\n", (), [], id="NetworkManager has it"),
        pytest.param("100 (connected (externally))\n", (), [UP], id="taken for another's"),
        pytest.param(LOST, (), [UP], id="disconnected"),
        pytest.param(LOST, (UP,), [UP, CONNECT], id="its connection is there no more"),
        pytest.param(LOST, (UP, CONNECT), [UP, CONNECT], id="nor does any other fit"),
    ],
)
def test_networkmanager_gets_its_former_links_back(
    state: str,
    fails: tuple[tuple[str, ...], ...],
    asked: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the former connection; with another one only where that fails."""
    told: list[tuple[str, ...]] = []

    def output(words: tuple[str, ...], _: Deadline) -> str:
        told.append(words)
        if words in fails or words[0] == "nm-online":  # which some hosts lack
            raise CommandFailed("no")
        return state

    monkeypatch.setattr(adopt, "output", output)
    links = [SimpleNamespace(name=name) for name in ("ens5", "ens6")]
    host: Any = SimpleNamespace(environment=SimpleNamespace(eni_links=links))
    before: Any = SimpleNamespace(profiles={"ens6": "1-2-3", "ens9": "4-5-6"})
    adopt._reconnect(before, host, Deadline(60))
    show = ("nmcli", "-g", "GENERAL.STATE", "device", "show", "ens6")
    assert told[1:] == [show, *asked]
