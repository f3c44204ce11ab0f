# SPDX-License-Identifier: Apache-2.0
"""Which files count, in which order, and which values are in force when one file is broken."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ec2net.core.config.files import SIZE_MAX, LoadedConfig, Source, load, show, show_dict
from ec2net.core.config.schema import SETTINGS
from ec2net.core.config.settings import Config, EniSettings, Manage
from ec2net.core.config.tree import to_dict

VENDOR, ADMIN = "usr/lib/ec2net/ec2net.toml", "etc/ec2net/ec2net.toml"
VENDOR_D, RUN_D, ADMIN_D = (
    f"{directory}/ec2net/ec2net.toml.d/" for directory in ("usr/lib", "run", "etc")
)
MASK = "/dev/null"


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == MASK:
            path.symlink_to(MASK)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def metric(number: int) -> str:
    return f"main_default = {number}\n"


@pytest.mark.parametrize(
    ("files", "winner"),
    [
        ({VENDOR: metric(1)}, VENDOR),
        ({VENDOR: metric(1), ADMIN: metric(2)}, ADMIN),
        ({VENDOR: metric(1), ADMIN: ""}, VENDOR),
        ({VENDOR: metric(1), ADMIN: MASK}, None),
        ({VENDOR: MASK, ADMIN: metric(2)}, ADMIN),
        ({ADMIN: metric(1), VENDOR_D + "a.toml": metric(2)}, VENDOR_D + "a.toml"),
        ({ADMIN: MASK, VENDOR_D + "a.toml": metric(2)}, VENDOR_D + "a.toml"),
        # sorted by name, not by directory
        (
            {ADMIN_D + "10.toml": metric(1), RUN_D + "20.toml": metric(2)},
            RUN_D + "20.toml",
        ),
        (
            {
                VENDOR_D + "30.toml": metric(3),
                RUN_D + "20.toml": metric(2),
                ADMIN_D + "10.toml": "",
            },
            VENDOR_D + "30.toml",
        ),
        # of files with one name, /etc before /run before /usr/lib
        ({VENDOR_D + "a.toml": metric(1), RUN_D + "a.toml": metric(2)}, RUN_D + "a.toml"),
        ({RUN_D + "a.toml": metric(1), ADMIN_D + "a.toml": metric(2)}, ADMIN_D + "a.toml"),
        ({VENDOR_D + "a.toml": metric(1), ADMIN_D + "a.toml": ""}, None),
        ({VENDOR_D + "a.toml": metric(1), RUN_D + "a.toml": MASK}, None),
        ({RUN_D + "a.toml": metric(1), ADMIN_D + "a.toml": MASK}, None),
        ({VENDOR_D + "a.toml": MASK, ADMIN_D + "a.toml": metric(1)}, ADMIN_D + "a.toml"),
        # a masked file need not be valid
        ({VENDOR_D + "a.toml": "= broken", ADMIN_D + "a.toml": MASK}, None),
        # no drop-ins
        ({ADMIN_D + ".a.toml": metric(1), ADMIN_D + "a.toml~": metric(1)}, None),
        ({ADMIN_D + "a.conf": metric(1), "run/ec2net/ec2net.toml": metric(1)}, None),
        ({}, None),
    ],
)
def test_a_later_file_takes_precedence(
    tmp_path: Path, files: dict[str, str], winner: str | None
) -> None:
    write(tmp_path, files)
    loaded = load(tmp_path)
    assert loaded.errors == ()
    assert loaded.source is Source.FILES
    if winner is None:
        assert loaded.config == Config()
        assert loaded.origins["main_default"] == "built-in"
    else:
        assert loaded.config.eni.main_default == int(files[winner].split()[-1])
        assert loaded.origins["main_default"] == str(tmp_path / winner)


def test_files_are_merged_key_by_key_and_their_sections_are_concatenated(tmp_path: Path) -> None:
    section = "[[eni]]\nmatch = {{ card = {} }}\n"
    write(
        tmp_path,
        {
            VENDOR: "mtu = 1500\n[numbers]\nprotocol = 200\nlink_group = 7\n" + section.format(0),
            ADMIN: "[numbers]\nprotocol = 201\n" + section.format(1) + section.format(2),
            RUN_D + "50.toml": section.format(4),
            ADMIN_D + "40.toml": section.format(3),
        },
    )
    loaded = load(tmp_path)
    config = loaded.config
    assert (config.eni.mtu, config.numbers.protocol, config.numbers.link_group) == (1500, 201, 7)
    assert [section.match.card for section in config.sections] == [0, 1, 2, 3, 4]
    vendor, admin, forty, fifty = loaded.files
    assert [loaded.origins[f"eni[{i}]"] for i in range(5)] == [vendor, admin, admin, forty, fifty]
    assert loaded.origins["numbers.link_group"] == vendor
    assert loaded.origins["numbers.protocol"] == admin
    assert loaded.origins["ipv6"] == "built-in"


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def content(data: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data.encode() if isinstance(data, str) else data)


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (content("a = 1\nb = \n"), "not TOML: Invalid value (at line 2, column 5)"),
    (content("a = 1\nb ="), "not TOML: Invalid value (at line 2, the end)"),
    (content("a = 1\na = 2\n"), "not TOML: Cannot overwrite a value (at line 2, column 6)"),
    (content(b"a = 1\n# \xff\n"), "line 2: not UTF-8, as TOML must be"),
    (content(b'a = "\0"'), "not TOML: Illegal character '\\x00' (at line 1, column 6)"),
    (content("a = " + "[" * 100_000), "nested too deeply"),
    (content("a = " + "1" * 5000), "a number has too many digits"),
    (content("\n" + "a." * 33 + "a = 1"), "line 2: more than 32 dots"),
    (content("#" * (SIZE_MAX + 1)), "cannot be read: larger than the limit of 1048576 bytes"),
    (make_fifo, "cannot be read: not a regular file"),
    (make_folder, "cannot be read: not a regular file"),
    (
        make_dangling,
        (
            "cannot be read: No such file or directory (this link has no target: remove it, or "
            "link to /dev/null to mask the file)"
        ),
    ),
    (make_loop, "cannot be read: Too many levels of symbolic links"),
    (content("mtu = 1"), 'mtu = 1: must be "dhcp", "keep" or a whole number from 576 to 65535'),
]


@pytest.mark.parametrize("place", [VENDOR, ADMIN, RUN_D + "a.toml"])
@pytest.mark.parametrize(("make", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_an_error(
    tmp_path: Path, place: str, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    make(path)
    loaded = load(tmp_path)
    assert [str(error) for error in loaded.errors] == [f"{path}: {message}"]
    assert loaded.config == Config()
    assert loaded.source is Source.BUILT_IN
    assert loaded.files == (str(path),)


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    write(tmp_path, {ADMIN: "mtu = 1500\n".ljust(SIZE_MAX, "#")})
    assert load(tmp_path).config.eni.mtu == 1500


def test_dots_in_a_comment_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, {ADMIN: f" # {'.' * 99}\nmtu = 1500"})
    assert load(tmp_path).config.eni.mtu == 1500


def test_a_file_without_read_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated, since the tests may run as root."""
    write(tmp_path, {ADMIN: ""})

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    path = tmp_path / ADMIN
    assert [str(error) for error in load(tmp_path).errors] == [
        (
            f"{path}: cannot be read: Permission denied (run as root, or allow every user to "
            f"read it: chmod a+r {path})"
        )
    ]


def test_a_folder_without_read_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> list[str]:
        if "/etc/" in path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", refuse)
    folder = str(tmp_path / ADMIN_D)
    assert [str(error) for error in load(tmp_path).errors] == [
        (
            f"{folder.rstrip('/')}: cannot be read: Permission denied (run as root, or allow "
            f"every user to read it: chmod a+rx {folder.rstrip('/')})"
        )
    ]


def test_a_drop_in_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {ADMIN_D.rstrip("/"): ""})
    folder = tmp_path / ADMIN_D
    assert [str(error) for error in load(tmp_path).errors] == [
        f"{folder}: cannot be read: Not a directory"
    ]


def test_a_file_removed_while_reading_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {ADMIN: metric(1)})

    def gone(path: str, flags: int) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "open", gone)
    loaded = load(tmp_path)
    assert (loaded.errors, loaded.config) == ((), Config())


def test_errors_of_all_files_are_collected(tmp_path: Path) -> None:
    write(tmp_path, {VENDOR: "mtu = 1\nipv6 = 6", ADMIN: "=", ADMIN_D + "a.toml": "manage = 0"})
    names = [Path(error.subject).name for error in load(tmp_path).errors]
    assert names == ["ec2net.toml", "ec2net.toml", "ec2net.toml", "a.toml"]


def test_errors_of_one_file_are_limited(tmp_path: Path) -> None:
    write(tmp_path, {ADMIN: "".join(f"key{i} = 1\n" for i in range(50_000))})
    errors = load(tmp_path).errors
    assert len(errors) == 101
    assert str(errors[-1]) == f"{tmp_path / ADMIN}: more than 100 errors: the rest was not read"


GOOD = Config(eni=EniSettings(manage=Manage.NO_RULES, mtu=9001))


def test_the_last_good_configuration_stays_in_force(tmp_path: Path) -> None:
    write(tmp_path, {ADMIN: "mtu = 1500", RUN_D + "a.toml": "mtu = true"})
    loaded = load(tmp_path, to_dict(GOOD))
    assert loaded.config == GOOD
    assert loaded.source is Source.LAST_GOOD
    assert set(loaded.origins.values()) == {"last good"}
    assert len(loaded.errors) == 1


def test_the_last_good_configuration_is_not_used_without_errors(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"not": "good"})
    assert (loaded.config, loaded.source, loaded.errors) == (Config(), Source.FILES, ())


@pytest.mark.parametrize(
    ("last_good", "message"),
    [
        ({"mtu": 1}, 'mtu = 1: must be "dhcp", "keep" or a whole number from 576 to 65535'),
        ({"eni": 1}, "eni = 1: must be sections, each headed [[eni]]"),
    ],
)
def test_an_invalid_last_good_configuration_is_not_used(
    tmp_path: Path, last_good: dict[str, Any], message: str
) -> None:
    write(tmp_path, {ADMIN: "mtu = true"})
    loaded = load(tmp_path, last_good)
    assert (loaded.config, loaded.source) == (Config(), Source.BUILT_IN)
    assert str(loaded.errors[-1]) == f"last good configuration: {message}"


def shown(tmp_path: Path) -> LoadedConfig:
    text = 'mtu = 1500\n[[eni]]\nmatch = { card = 1, name = "ens*" }\naltnames = []\n'
    write(tmp_path, {ADMIN: text})
    return load(tmp_path)


def test_config_show_lists_the_effective_values(tmp_path: Path) -> None:
    rows = show(shown(tmp_path))
    path = str(tmp_path / ADMIN)
    assert [key for key, _, _ in rows[: len(SETTINGS)]] == list(SETTINGS)
    assert ("mtu", 1500, path) in rows
    assert ("timeouts.pass", 15.0, "built-in") in rows
    assert rows[len(SETTINGS) :] == [
        ("eni[0].match.card", 1, path),
        ("eni[0].match.name", ["ens*"], path),
        ("eni[0].altnames", [], path),
    ]


def test_config_show_lists_the_last_good_values(tmp_path: Path) -> None:
    good = to_dict(shown(tmp_path).config)
    write(tmp_path, {ADMIN: "="})
    rows = show(load(tmp_path, good))
    assert rows[-1] == ("eni[0].altnames", [], "last good")


def test_config_show_writes_json(tmp_path: Path) -> None:
    data = json.loads(json.dumps(show_dict(shown(tmp_path))))
    path = str(tmp_path / ADMIN)
    assert data["source"] == "files"
    assert (data["files"], data["errors"]) == ([path], [])
    assert {"key": "mtu", "value": 1500, "origin": path} in data["settings"]


def test_loading_without_files_is_quick(tmp_path: Path) -> None:
    times = []
    for _ in range(10):
        start = time.thread_time()
        load(tmp_path)
        times.append(time.thread_time() - start)
    assert min(times) < 0.002  # of CPU; it takes 0.03 ms


def test_loading_without_files_imports_no_parser(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ec2net.core.config.files import load;"
        f"load(Path({str(tmp_path)!r}));"
        "print(sorted({'tomllib', 'difflib', 'textwrap', 'pluggy', 'requests'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
