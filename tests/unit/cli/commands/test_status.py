# SPDX-License-Identifier: Apache-2.0
"""``ec2net status`` from a published pass: the table, JSON by its schema, and watching."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import json_schema
import pytest

from ec2net.core.cli.main import main
from ec2net.core.host import service
from ec2net.core.report.table import WIDTH, table
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.last_pass import mark
from ec2net.core.state.run_dir import RunDir

LIMIT = 60.0
"""Seconds in which a program ends or shows something, however busy the machine is."""


def intent(**changes: Any) -> dict[str, Any]:
    many: dict[str, Any] = {key: [] for key in ("gateways", "rules", "table_routes", "unread")}
    many |= {key: [] for key in ("main_routes", "local_routes", "altnames")}
    many |= {key: [] for key in ("main_subnets", "subnet_routes", "main_remarks")}
    many |= {key: [] for key in ("correctable", "corrections", "correction_routes")}
    many |= {"copied_routes": [], "follows_main": True}
    return {
        **many,
        "mac": "06:00:00:00:00:01",
        "eni_id": "eni-0304feb62015b7959",
        "link": "ens6",
        "number": {"card": 0, "device": 1},
        "primary": False,
        "manage": "full",
        "table": 10001,
        "metric": 513,
        "base": ["10.0.2.4/24"],
        "further": ["10.0.2.5/32", "10.0.2.6/32"],
        "prefixes": ["10.0.2.224/28"],
        "routed": [],
        "configured_sources": [],
        "link_group": 236,
        "mtu": "dhcp",
        "ipv6": False,
        "early": {},
        "coexist_with": [],
        "no_ipv4": [],
        "vrf": "",
        **changes,
    }


def eni(**changes: Any) -> dict[str, Any]:
    return {
        "mac": "06:00:00:00:00:01",
        "eni_id": "eni-0304feb62015b7959",
        "link": "ens6",
        "attached": "boot",
        "standing": "planned",
        "state": "configured",
        "reason": "",
        "intent": intent(rules=["rule 10001: from 10.0.2.4/31 lookup 10001"]),
        "backend": "networkd",
        "there": 2,
        "trouble": [],
        "reason_code": None,
        "drift": None,
        "held": None,
        "since": "2026-11-22T06:59:57Z",
        **changes,
    }


def publish(run: Path, *enis: dict[str, Any], **more: Any) -> None:
    RunDir(run).write(
        "status.json",
        {"version": 1, "enis": list(enis), "problems": [], "problem_codes": [], **more},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def status(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = main(["status", "--run-dir", str(run), *options])
    return code, capsys.readouterr().out


def test_a_row_shows_all_facts_of_an_eni(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(run, eni())
    code, text = status(run, capsys)
    head, row, last, *_ = text.splitlines()
    assert head.split() == [
        "ENI",
        "LINK",
        "CARD",
        "DEV",
        "BACKEND",
        "STATE",
        "SINCE",
        "ADDR",
        "PFX",
        "TABLE",
    ]
    since = ["2026-11-22", "06:59", "UTC"]
    eni_row = ["eni-0304feb62015b7959", "ens6", "0", "1", "networkd", "configured"]
    assert row.split() == [*eni_row, *since, "2/3", "1", "10001"]
    assert re.fullmatch(r"Last change: \d{4}-\d\d-\d\d \d\d:\d\d UTC \(\d+ s ago\)\.", last)
    assert code == 0


def test_a_problem_shows_below_the_table_and_in_the_exit_status(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(run, eni(trouble=["address 10.0.2.5/32 is in use"]), problems=["IMDS: no answer"])
    code, text = status(run, capsys)
    assert "! ens6: address 10.0.2.5/32 is in use\n! IMDS: no answer\n" in text
    assert code == 1


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "configured"),
        ({"state": "degraded"}, "degraded"),
        ({"state": "pending", "standing": "pending", "intent": None}, "pending"),
        ({"state": None}, "configured"),  # from an earlier version
    ],
)
def test_on_demand_status_omits_the_daemons_states(
    run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], state: str
) -> None:
    publish(run, eni(**changes))
    assert f" {state} " in status(run, capsys)[1].splitlines()[1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"link": "enp180s0f15np15", "backend": "networkmanager", "there": 50},
        {"backend": "a-plugin-with-quite-a-long-name-for-a-backend-of-its-own"},
        {"eni_id": None, "link": None, "intent": None, "there": None, "backend": None},
    ],
)
def test_the_table_fits_the_terminal(
    run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    further = [f"10.0.2.{n}/32" for n in range(10, 60)]
    publish(
        run, eni(intent=intent(number={"card": 31, "device": 99}, further=further)), eni(**changes)
    )
    lines = status(run, capsys)[1].splitlines()
    assert max(map(len, lines[:3])) <= WIDTH == 110


def test_a_shortened_cell_keeps_both_ends() -> None:
    text = table(("A", "B"), [("eni-0304feb62015b7959", "x"), ("short", "y")], width=16)
    assert text.splitlines() == ["A              B", "eni-03..b7959  x", "short          y"]


def test_status_reads_the_file_of_an_earlier_version(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = eni()
    del before["there"]
    publish(run, before)
    assert "?/3" in status(run, capsys)[1]
    publish(run, eni(there=None))
    assert "?/3" in status(run, capsys)[1]


def test_json_obeys_its_schema(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(run, eni(), eni(eni_id=None, link=None, intent=None, there=None, standing="pending"))
    document = json.loads(status(run, capsys, "--json")[1])
    assert json_schema.wrong_in(document, "status") == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"there": "2"}, ".enis[0].there"),
        ({"standing": "odd"}, ".enis[0].standing"),
        ({"since": "yesterday"}, ".enis[0].since"),
        ({"new": 1}, ".enis[0]: new"),
        ({"intent": intent(table=None)}, ".enis[0].intent.table"),
    ],
)
def test_the_schema_rejects_wrong_documents(
    run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], wrong: str
) -> None:
    publish(run, eni(**changes))
    document = json.loads(status(run, capsys, "--json")[1])
    (found,) = json_schema.wrong_in(document, "status")
    assert found.startswith(wrong)


@contextmanager
def watching(run: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(run), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def documents(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    yield from map(json.loads, process.stdout)


def test_watch_shows_each_change_once(run: Path) -> None:
    with watching(run, "--watch", "0.05", "--json") as process:
        shown = documents(process)
        assert "no pass has ended" in next(shown)["error"]
        for there in (1, 2):
            publish(run, eni(there=there))
            assert next(shown)["enis"][0]["there"] == there
        process.send_signal(signal.SIGINT)
        assert list(shown) == []
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_watch_at_once(run: Path, number: signal.Signals) -> None:
    publish(run, eni(trouble=["something"]))
    with watching(run, "--watch", "3600") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ENI")
        process.send_signal(number)
        assert process.wait(LIMIT) == 1  # the last screen


def test_a_terminal_is_redrawn_when_something_changed(run: Path) -> None:
    """Also when an age grows, but never twice with the same content."""
    publish(run, eni(there=1))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(run), "--watch", "0.05"]
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        try:
            seen = read_until(ours, "1/3", "Last change: ")
            publish(run, eni(there=2))
            seen += read_until(ours, "2/3", "Last change: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
            os.close(ours)
    pictures = seen.split("\x1b[H\x1b[2J")[1:]
    assert len(pictures) >= 2
    assert all(one != other for one, other in pairwise(pictures))
    assert " d ago" in pictures[0]


def test_a_terminal_does_not_scroll(run: Path) -> None:
    publish(run, *(eni(link=f"ens{n}", trouble=["something"]) for n in range(40)))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 200, 0, 0))
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(run), "--watch"]
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        try:
            seen = read_until(ours, "more lines")
        finally:
            process.kill()
            os.close(ours)
    assert seen.count("\n") <= 11
    assert "... and 72 more lines" in seen


def test_watching_ends_with_the_reader_of_its_output(run: Path) -> None:
    publish(run, eni())
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(run), "--watch", "3600"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ENI")
        process.stdout.close()
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("name", ["ens7", "eni-07", "06:00:00:00:00:02", "uplink"])
def test_one_eni_is_shown_by_any_of_its_names(
    run: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    names = {"link": "ens7", "eni_id": "eni-07", "mac": "06:00:00:00:00:02"}
    publish(run, eni(trouble=["x"]), eni(**names, intent=intent(altnames=["uplink"])))
    code, text = status(run, capsys, name)
    assert [line.split()[0] for line in text.splitlines()] == ["ENI", "eni-07", "Last"]
    assert code == 0  # the other ENI has the trouble
    document = json.loads(status(run, capsys, name, "--json")[1])
    assert [row["link"] for row in document["enis"]] == ["ens7"]
    assert json_schema.wrong_in(document, "status") == []


def test_an_unknown_eni_is_reported_with_the_known_ones(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(run, eni())
    assert main(["status", "--run-dir", str(run), "esn6"]) == 2
    assert capsys.readouterr().err == (
        "ec2net: esn6 is not the link, id or MAC address of an ENI; did you mean 'ens6'?"
        " (ENIs of this host: ens6)\n"
    )


def test_colours_show_what_is_wrong(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(run, eni(), eni(state="degraded", trouble=["x"]), eni(state="pending"))
    _, plain = status(run, capsys, "--color", "never")
    assert "\x1b" not in plain
    _, coloured = status(run, capsys, "--color", "always")
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    rows = coloured.splitlines()
    assert [row[:5] for row in rows[2:5]] == ["\x1b[31m", "\x1b[33m", "\x1b[31m"]
    assert rows[0].startswith("ENI")
    assert rows[1].startswith("eni-")


def read_until(terminal: int, *words: str) -> str:
    """The output up to the last of ``words``, in this order."""
    seen = ""
    deadline = Deadline(LIMIT, "the terminal")
    start = 0
    for word in words:
        while word not in seen[start:]:
            deadline.wait(terminal)
            seen += os.read(terminal, 4096).decode()
        start = seen.index(word, start)
    return seen


def systemd(monkeypatch: pytest.MonkeyPatch, folder: Path, *units: str) -> None:
    """A host that systemd runs, whose ``systemctl show`` prints these units' properties."""
    folder.mkdir(exist_ok=True)
    program = folder / "systemctl"
    text = "\n\n".join(units)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(service, "BOOTED", folder)


def unit(name: str, active: str, file: str) -> str:
    sub = "running" if active == "active" else "dead"
    return (
        f"Id={name}\nLoadState=loaded\nActiveState={active}\nSubState={sub}\nUnitFileState={file}"
    )


def test_a_stopped_service_is_the_first_line_and_a_failure(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    publish(run, eni())
    mark(RunDir(run))
    systemd(monkeypatch, tmp_path / "bin", unit("ec2net.service", "inactive", "enabled"))
    code, text = status(run, capsys)
    assert re.match(
        r"! ec2net\.service is stopped: nothing keeps the ENIs in line with EC2"
        r" \(last pass \d{4}-\d\d-\d\d \d\d:\d\d UTC, \d+ s ago\);"
        r" see why: journalctl -b -u ec2net\.service; then: systemctl start ec2net\.service\nENI ",
        text,
    )
    assert code == 1
    document = json.loads(status(run, capsys, "--json")[1])
    assert document["service"]["unit"] == "ec2net.service"
    assert json_schema.wrong_in(document, "status") == []


def test_a_running_service_is_not_mentioned(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    publish(run, eni())
    systemd(monkeypatch, tmp_path / "bin", unit("ec2net.service", "active", "enabled"))
    code, text = status(run, capsys)
    assert text.startswith("ENI ")
    assert code == 0


def test_without_a_status_the_stopped_service_is_the_reason(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    systemd(monkeypatch, tmp_path / "bin", unit("ec2net.service", "inactive", "disabled"))
    assert main(["status", "--run-dir", str(run)]) == 1
    said = capsys.readouterr().err
    assert "no status yet: ec2net.service is stopped and disabled" in said
    assert "systemctl enable --now ec2net.service" in said


def test_a_broken_configuration_is_reported_until_the_daemon_reads_the_correction(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    publish(run, eni())
    root = ("--config-root", str(tmp_path / "root"))
    file = tmp_path / "root/etc/ec2net/ec2net.toml"
    file.parent.mkdir(parents=True)
    file.write_text("mtuu = 1500\n")
    code, text = status(run, capsys, *root)
    assert text.startswith(f"! configuration: {file}: mtuu = 1500: no such setting")
    assert code == 2
    publish(run, eni(trouble=["address 10.0.2.5/32 is missing"]))
    assert status(run, capsys, *root)[0] == 1  # the ENI's trouble is the worse news
    file.write_text("mtu = 1500\n")
    publish(run, eni(), config_errors=["ec2net.toml: mtuu = 1500"])
    code, text = status(run, capsys, *root)
    assert text.startswith("! configuration: ec2net.toml: mtuu = 1500 (corrected since;")
    assert code == 2
    publish(run, eni(), config_errors=[])
    assert status(run, capsys, *root)[0] == 0
