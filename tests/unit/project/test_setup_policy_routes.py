# SPDX-License-Identifier: Apache-2.0
"""The command of amazon-ec2-net-utils: its verbs run ec2net, and other calls are refused."""

import subprocess
from pathlib import Path

import pytest
from checkout import TOP

SCRIPT = TOP / "packaging/setup-policy-routes"


def called(tmp_path: Path, *arguments: str, status: int = 0) -> tuple[int, str, str]:
    """Exit status, the call of ``ec2net`` that was made (which ends with ``status``), messages."""
    fake = tmp_path / "ec2net"
    fake.write_text(f"#!/bin/sh\nprintf '<%s>' \"$@\"\nexit {status}\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [SCRIPT, *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("start", "<start><--><ens6>"),
        ("refresh", "<refresh>"),
        ("remove", "<remove><--><ens6>"),
        ("stop", ""),
        ("cleanup", ""),
    ],
)
def test_each_verb_runs_a_command_of_ec2net_or_nothing(
    tmp_path: Path, verb: str, call: str
) -> None:
    assert called(tmp_path, "ens6", verb) == (0, call, "")


@pytest.mark.parametrize("verb", ["start", "refresh", "remove"])
@pytest.mark.parametrize("status", [1, 2, 3])
def test_the_script_ends_with_the_status_of_ec2net(tmp_path: Path, verb: str, status: int) -> None:
    assert called(tmp_path, "ens6", verb, status=status)[0] == status


@pytest.mark.parametrize("name", ["-v", "a b", "*", ""])
def test_a_name_is_passed_on_unchanged(tmp_path: Path, name: str) -> None:
    assert called(tmp_path, name, "start")[1] == f"<start><--><{name}>"


@pytest.mark.parametrize(
    "arguments", [(), ("ens6",), ("ens6", "restart"), ("ens6", ""), ("ens6", "start", "now")]
)
def test_an_unknown_call_is_an_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """2.7.4 prints its usage and ends with 0."""
    status, call, said = called(tmp_path, *arguments)
    assert (status, call) == (2, "")
    assert "usage: setup-policy-routes IFACE start|refresh|remove|stop|cleanup\n" in said
    assert said.count("\n") == 1
