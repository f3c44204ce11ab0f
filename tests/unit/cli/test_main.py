# SPDX-License-Identifier: Apache-2.0
"""Bad input to the real program: one clear line on stderr, the right exit status, no traceback."""

import copy
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from patience import told_bound

from ec2net.core.cli.main import main
from ec2net.core.config.settings import Config
from ec2net.core.model.errors import UsageError
from ec2net.core.record.replay import plan_from_record
from ec2net.core.runtime.deadline import Deadline

DONE, USAGE, FAILED = 0, 2, 1


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    def one_line(self, status: int) -> str:
        """The text after ``ec2net: `` in the only line."""
        assert (self.status, self.out) == (status, "")
        assert self.err.startswith("ec2net: ")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("ec2net: ").rstrip("\n")


class Program:
    """The program in this process, where an exception that it does not expect fails the test."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.run_dir = path / "state"
        self.capture = capture

    @property
    def places(self) -> list[str]:
        return ["--run-dir", str(self.run_dir), "--config-root", str(self.path)]

    def __call__(self, command: str, *arguments: str) -> Outcome:
        return self.bare(command, *self.places, *arguments)

    def bare(self, *arguments: str) -> Outcome:
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse
            status = int(str(end.code))
        return Outcome(status, *self.capture.readouterr())

    def configure(self, text: str) -> str:
        """The path of the file."""
        file = self.path / "etc/ec2net/ec2net.toml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return str(file)


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    logger = logging.getLogger("ec2net")
    before = logger.propagate, logger.level
    yield Program(tmp_path, capsys)
    logger.handlers.clear()
    logger.propagate, logger.level = before


def test_a_separate_process_ends_with_the_line_and_the_status(tmp_path: Path) -> None:
    packages = Path(sys.modules["ec2net"].__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-m", "ec2net", "start", "../x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )
    line = "'../x' has a character that link names cannot have (run 'ip link' to see the names)"
    assert Outcome(done.returncode, done.stdout, done.stderr).one_line(USAGE) == line


@pytest.mark.parametrize("command", ["start", "remove"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../x", "'../x' has a character that link names cannot have"),
        ("a" * 16, "'aaaaaaaaaaaaaaaa' is longer than 15 bytes"),
        ("", "a link name cannot be empty"),
        ("..", "'..' is not a link name"),
        ("ens 6", "'ens 6' has a character that link names cannot have"),
        ("ens6\n", r"'ens6\n' has a character that link names cannot have"),
        ("x" * 100_000, "'" + "x" * 57 + "...' is longer than 15 bytes"),
    ],
)
def test_a_link_name_that_the_kernel_cannot_have_is_refused(
    program: Program, command: str, name: str, problem: str
) -> None:
    assert (
        program(command, "--", name).one_line(USAGE)
        == f"{problem} (run 'ip link' to see the names)"
    )
    assert not program.run_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "problem", "help_of"),
    [
        ([], "the following arguments are required: COMMAND", "ec2net"),
        (["frobnicate"], "there is no command 'frobnicate' (see ", "ec2net"),
        (["stauts"], "there is no command 'stauts'; did you mean 'status'? (see ", "ec2net"),
        (["x" * 100_000], f"there is no command '{'x' * 60}' (see ", "ec2net"),
        (["plan", "ens6"], "unrecognized arguments: ens6 (see ", "ec2net plan"),
        (
            ["plan", "--colour=never"],
            "unrecognized arguments: --colour=never; did you mean '--color'? (see ",
            "ec2net plan",
        ),
        (
            ["status", "--jso"],  # "refresh --verbos" must not make changes
            "unrecognized arguments: --jso; did you mean '--json'? (see ",
            "ec2net status",
        ),
        (
            ["plan", "--color", "red"],
            "argument --color: invalid choice: 'red' (choose ",
            "ec2net plan",
        ),
        (["remove"], "the following arguments are required: LINK", "ec2net remove"),
        (["config"], "one of the arguments --check --show is required", "ec2net config"),
        (
            ["config", "--check", "--show"],
            "argument --show: not allowed with argument --check",
            "ec2net config",
        ),
        (["plan", "--imds"], "argument --imds: expected one argument", "ec2net plan"),
        *(
            (
                ["start", "--timeout", text, "ens6"],
                (f"argument --timeout: '{text}' is not a number of seconds above 0 and up to 3600"),
                "ec2net start",
            )
            for text in ("0", "3601", "nan", "inf", "soon", "")
        ),
        (
            ["start", "--timeout=-1", "ens6"],
            "argument --timeout: '-1' is not a number of seconds above 0 and up to 3600",
            "ec2net start",
        ),
    ],
)
def test_a_wrong_command_line_is_refused(
    program: Program, arguments: list[str], problem: str, help_of: str
) -> None:
    line = program.bare(*arguments).one_line(USAGE)
    assert line.startswith(problem)
    assert line.endswith(f" (see '{help_of} --help')")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("manage = full", "not TOML: Invalid value (at line 1, column 10)"),
        ("[numbers\n", "not TOML: "),
        ('colour = "red"', 'colour = "red": no such setting; allowed: '),
        ("manege = 'full'", 'manege = "full": no such setting; allowed: '),
        (
            "[numbers]\ntable_base = 5",
            "numbers.table_base = 5: must be a whole number from 256 to ",
        ),
        (
            "[timeouts]\npass = 0",
            "timeouts.pass = 0: must be a number of seconds from 1 to 300",
        ),
        ("mtu = 70000", 'mtu = 70000: must be "dhcp", "keep" or a whole number from 576 to 65535'),
        ("primary_rules = 1", 'primary_rules = 1: must be "auto", true or false'),
    ],
)
@pytest.mark.parametrize("command", ["plan", "verify", "refresh"])
def test_an_error_of_the_configuration_names_file_key_and_allowed_values(
    program: Program, command: str, text: str, problem: str
) -> None:
    file = program.configure(text)
    line = program(command).one_line(USAGE)
    assert line.startswith(f"{file}: {problem}")


def test_the_first_of_several_errors_is_shown_with_their_count(program: Program) -> None:
    file = program.configure("mtu = 1\nprimary_rules = 1\nmanege = 1\n")
    line = program("plan").one_line(USAGE)
    assert line.startswith(f"{file}: mtu = 1: must be ")
    assert "and 2 more: 'ec2net config --check' lists them" in line
    check = program("config", "--check")
    assert (check.status, check.out.count("\n")) == (USAGE, 3)


def test_config_check_warns_of_an_mtu_that_removes_ipv6(program: Program) -> None:
    file = program.configure("mtu = 600\n[[eni]]\nmatch = { device = 1 }\nmtu = 1279\n")
    check = program("config", "--check")
    warned, section, end = check.out.splitlines()
    assert (check.status, end) == (DONE, "OK: 1 file(s), no errors")
    assert warned.startswith(f"{file}: warning: mtu = 600: an ENI with IPv6 addresses is refused")
    assert section.startswith(f"{file}: warning: eni[0].mtu = 1279: ")


def test_config_check_warns_of_ipv6_that_a_section_wants_with_a_small_mtu(program: Program) -> None:
    program.configure('mtu = 600\nipv6 = "off"\n[[eni]]\nmatch = { device = 1 }\nipv6 = "auto"\n')
    warned, _ = program("config", "--check").out.splitlines()
    assert "warning: eni[0].mtu = 600: " in warned


@pytest.mark.parametrize("text", ["mtu = 1280\n", 'mtu = "keep"\n', 'mtu = 600\nipv6 = "off"\n'])
def test_config_check_accepts_an_mtu_that_ipv6_allows(program: Program, text: str) -> None:
    program.configure(text)
    assert program("config", "--check") == Outcome(DONE, "OK: 1 file(s), no errors\n", "")


def test_help_is_what_the_option_prints(program: Program) -> None:
    for name in ("plan", "help"):
        shown = program.bare("help", name)
        assert (shown.status, shown.err) == (DONE, "")
        assert shown.out == program.bare(name, "--help").out
    assert program.bare("help").out == program.bare("--help").out
    assert program.bare("help", "plna").one_line(USAGE) == (
        "there is no command 'plna'; did you mean 'plan'? (run 'ec2net help')"
    )


def test_status_before_the_first_pass_says_so(program: Program) -> None:
    assert program("status").one_line(FAILED) == (
        f"{program.run_dir}/status.json: there is no status yet: no pass has ended since "
        "boot (run 'ec2net refresh')"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"enis": 5}', '{"enis": [{}]}'])
def test_an_unusable_status_file_is_reported(program: Program, content: str) -> None:
    program.run_dir.mkdir()
    (program.run_dir / "status.json").write_text(content)
    line = program("status").one_line(FAILED)
    assert line.startswith(f"{program.run_dir}/status.json: ")
    assert line.endswith("(run 'ec2net refresh')")


def test_a_state_directory_that_cannot_be_created_is_an_error(program: Program) -> None:
    program.run_dir.touch()
    line = program("refresh").one_line(FAILED)
    assert line.startswith(f"cannot open {program.run_dir}/lock: File exists (run as root")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not a record of ec2net or a tree of IMDS: it is empty"),
        (b"\xff\xfe", "is not a record of ec2net or a tree of IMDS: 'utf-8' codec can't decode"),
        (b"[]", "is not a record of ec2net or a tree of IMDS: not an object"),
        (b"{}", "is not a record of ec2net or a tree of IMDS: there is no 'latest'"),
        (b'{"latest": 5}', "is not a record of ec2net or a tree of IMDS: 'int' object is not"),
        (b"[" * 100_000, "is not a record of ec2net or a tree of IMDS: maximum recursion depth"),
    ],
)
def test_an_invalid_record_is_refused(
    program: Program, content: bytes | None, problem: str
) -> None:
    file = program.path / "record.json"
    if content is not None:
        file.write_bytes(content)
    line = program("plan", "--imds", str(file)).one_line(USAGE)
    assert line.startswith(f"{file}: {problem}")
    if content is not None:
        assert line.endswith("(create one with 'ec2net record FILE')")


def test_a_record_without_an_end_is_refused(program: Program) -> None:
    """ec2net read it until the memory was full."""
    line = program("plan", "--imds", "/dev/zero").one_line(USAGE)
    assert line.startswith(
        "/dev/zero: is not a record of ec2net or a tree of IMDS: larger than the limit of "
    )


def test_a_record_without_a_writer_is_awaited_until_the_deadline(program: Program) -> None:
    program.configure("timeouts.pass = 1\n")
    fifo = program.path / "fifo"
    os.mkfifo(fifo)
    line = program("plan", "--imds", str(fifo)).one_line(FAILED)
    assert line.startswith(f"reading {fifo} did not end within ")
    assert told_bound(line) <= 1  # less by the program's earlier usage


def test_a_folder_instead_of_a_record_is_refused(program: Program) -> None:
    line = program("plan", "--imds", str(program.path)).one_line(USAGE)
    assert line == f"{program.path}: cannot be read: Is a directory"


RECORD: dict[str, Any] = {
    "imds": {
        "latest": {
            "meta-data": {
                "mac": "06:ec:02:00:00:01",
                "network": {
                    "interfaces": {
                        "macs": {
                            "06:ec:02:00:00:01": {
                                "interface-id": "eni-00000001",
                                "local-ipv4s": "10.0.1.4\n10.0.1.5",
                                "ipv6s": "2001:db8::4",
                                "ipv4-prefix": "10.0.1.224/28",
                                "subnet-ipv4-cidr-block": "10.0.1.0/24",
                                "subnet-ipv6-cidr-blocks": "2001:db8::/64",
                            }
                        }
                    }
                },
            }
        }
    },
    "kernel": {
        "links": [
            {
                "index": 2,
                "name": "ens5",
                "mac": "06:ec:02:00:00:01",
                "driver": "ena",
                "kind": "",
                "mtu": 9001,
                "up": True,
                "group": 236,
                "altnames": ["eni-00000001"],
                "permanent": True,
            }
        ],
        "addresses": [{"link": 2, "address": "10.0.1.4/24", "protocol": 0}],
        "routes": [
            {
                "destination": "0.0.0.0/0",
                "table": 254,
                "metric": 512,
                "link": 2,
                "gateway": "10.0.1.1",
                "source": None,
                "kind": "unicast",
                "protocol": 16,
            }
        ],
        "rules": [
            {
                "source": "10.0.1.5/32",
                "priority": 9999,
                "table": 254,
                "suppress_prefixlength": 0,
                "suppress_group": 236,
                "protocol": 236,
            }
        ],
        "accept_ra": {"2": 0},
    },
}
JUNK = [
    None,
    5,
    -1,
    "x",
    "",
    [],
    {},
    [1],
    {"a": 1},
    True,
    1e99,
    inf,
    nan,
    10**30,
    "10.0.0.1",
    ["x"],
]


def places(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in pairs:
        yield (*before, key)
        yield from places(value, (*before, key))


def test_an_unchanged_record_gives_a_plan(tmp_path: Path) -> None:
    (tmp_path / "record").write_text(json.dumps(RECORD))
    view = plan_from_record(tmp_path / "record", Config(), Deadline(10))
    assert view.problems == ()
    assert len(view.host.ready) == 1
    assert view.plan


@pytest.mark.parametrize("place", list(places(RECORD)), ids=lambda place: ".".join(map(str, place)))
def test_an_edited_record_gives_a_plan_or_a_clear_error(
    tmp_path: Path, place: tuple[Any, ...]
) -> None:
    file = tmp_path / "record"
    for junk in JUNK:
        edited = copy.deepcopy(RECORD)
        node = edited
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = junk
        file.write_text(json.dumps(edited))
        with suppress(UsageError):
            plan_from_record(file, Config(), Deadline(10))


def test_random_bytes_are_refused_as_a_record(tmp_path: Path) -> None:
    chance = random.Random(1)
    for length in (1, 10, 1000):
        (tmp_path / "record").write_bytes(chance.randbytes(length))
        with pytest.raises(UsageError, match="is not a record of ec2net"):
            plan_from_record(tmp_path / "record", Config(), Deadline(10))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('backend = "netwrokd"\n', "networkd"),
        ('[[eni]]\nmatch = { device = 1 }\nbackend = "networkmanger"\n', "networkmanager"),
        ('[plugins]\nenabled = ["netlnk"]\n', "netlink"),
    ],
)
def test_config_check_accepts_only_known_names_of_backends_and_plugins(
    program: Program, text: str, name: str
) -> None:
    program.configure(text)
    check = program("config", "--check")
    assert check.status == USAGE
    assert f'did you mean "{name}"?' in check.out
    assert "no errors" not in check.out
