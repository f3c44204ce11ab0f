# SPDX-License-Identifier: Apache-2.0
"""The named parts of the tests: what ``make test`` and ``make test-all`` consist of (docs/testing.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]

NEWEST, OLDEST = ".venv", ".venv-oldest"


@dataclass(frozen=True, slots=True)
class Part:
    """One command with a name."""

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Parts that must have passed before."""
    env: tuple[tuple[str, str], ...] = ()
    serial: bool = False
    """It measures time, and runs alone after the others."""
    pytest: bool = False


def pytests(
    name: str,
    *paths: str,
    select: str = "",
    keyword: str = "",
    needs: Sequence[str] = (),
    venv: str = NEWEST,
    serial: bool = False,
    env: tuple[tuple[str, str], ...] = (),
) -> Part:
    """A part that pytest runs; ``select`` is an expression over markers, ``keyword`` over names."""
    argv = [f"{venv}/bin/pytest", "-q", "-p", "no:cacheprovider"]
    argv += ["-m", select] if select else []
    argv += ["-k", keyword] if keyword else []
    first = "environment" if venv == NEWEST else "environment, oldest"
    return Part(
        name,
        (*argv, *paths),
        (first, *needs),
        env,
        serial=serial,
        pytest=True,
    )


SETUP = (
    Part("environment", ("packaging/setup.sh", NEWEST, "newest")),
    Part("environment, oldest", ("packaging/setup.sh", OLDEST, "oldest"), ("environment",)),
    Part("roots of lab hosts", ("packaging/setup.sh", "--lab"), ("environment",)),
    Part(
        "packages",
        ("sh", "-c", "packaging/setup.sh --packages && make --silent dist/complete && ls dist"),
        ("environment", "roots of lab hosts"),  # apt-get takes one at a time
    ),
)
STYLE = (
    Part("lint: ruff check", (f"{NEWEST}/bin/ruff", "check", "."), ("environment",)),
    Part("lint: ruff format", (f"{NEWEST}/bin/ruff", "format", "--check", "."), ("environment",)),
    Part("lint: codespell", (f"{NEWEST}/bin/codespell",), ("environment",)),
    Part("types: mypy --strict", ("packaging/types.sh", NEWEST), ("environment",)),
)

HOSTS = ("packages", "roots of lab hosts")
SYSTEMS = (
    "bookworm-networkd",
    "trixie-networkd",
    "bookworm-networkmanager",
    "trixie-networkmanager",
)
"""Releases and network managers; a lab test that names none of them makes its own hosts."""

NETNS = {
    "engine": ("tests/netns/test_engine_*.py",),
    "manager": ("tests/netns/test_resident*.py", "tests/netns/test_foreign_*.py"),
}
"""Files of namespace tests that are a part of their own; all others are one part."""

UNIT = ("imds", "project", "report", "runtime")
"""Folders of unit tests that take half of the time; measured on 2026-11-29: 91 s of 179 s."""


def files_of(*patterns: str) -> list[str]:
    """Files of the checkout, by glob, each as a path from its top."""
    return [str(p.relative_to(TOP)) for pattern in patterns for p in sorted(TOP.glob(pattern))]


def netns(prefix: str, select: str, env: tuple[tuple[str, str], ...] = ()) -> Iterator[Part]:
    """The namespace tests, in three parts."""
    named: set[str] = set()
    for name, patterns in NETNS.items():
        files = files_of(*patterns)
        named |= set(files)
        yield pytests(f"{prefix}namespaces: {name}", *files, select=select, env=env)
    others = [path for path in files_of("tests/netns/test_*.py") if path not in named]
    yield pytests(f"{prefix}namespaces: others", *others, select=select, env=env)


def unit() -> Iterator[Part]:
    """The unit tests, in two halves that take equally long."""
    tests = TOP / "tests/unit"
    folders = sorted({path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")})
    others = [folder for folder in folders if folder not in UNIT]
    for name, half in ((", ".join(UNIT), UNIT), ("others", others)):
        yield pytests(f"unit: {name}", *(f"tests/unit/{folder}" for folder in half))


def lab(prefix: str, select: str, env: tuple[tuple[str, str], ...] = ()) -> Iterator[Part]:
    """The lab hosts, a part for each system and one for tests that make their own hosts."""

    def hosts(name: str, keyword: str) -> Part:
        return pytests(name, "tests/lab", keyword=keyword, select=select, needs=HOSTS, env=env)

    for system in SYSTEMS:
        yield hosts(f"{prefix}lab: {system}", f"{system}-")
    yield hosts(f"{prefix}lab: others", "not networkd- and not networkmanager-")


def once() -> list[Part]:
    """``make test``: every behaviour on the real thing once."""
    now, alone = "not exhaustive and not serial", "serial and not exhaustive"
    return [
        *SETUP,
        *lab("", now),
        *netns("", now),
        *unit(),
        *STYLE,
        pytests("packages: contents, pip", "tests/packages", select=now, needs=("packages",)),
        pytests("unit, oldest libraries", "tests/unit", select=f"library and {now}", venv=OLDEST),
        pytests(
            "namespaces, oldest libraries",
            "tests/netns",
            select=f"library and {now}",
            venv=OLDEST,
        ),
        pytests("namespaces, timed", "tests/netns", select=alone, serial=True),
        pytests("lab, timed", "tests/lab", select=alone, needs=HOSTS, serial=True),
    ]


WHOLE = (("EC2NET_ENDURANCE", "1"),)
"""Tests of endurance run their whole length; ``make test`` runs a fifth (tests/support/endurance.py)."""


def everything() -> list[Part]:
    """``make test-all``: each part on its own within its limit."""
    now, alone = "not serial", "serial"
    return [
        *SETUP,
        *lab("all ", now, WHOLE),
        *netns("all ", now, WHOLE),
        pytests("all unit", "tests/unit"),
        *STYLE,
        pytests("all packages", "tests/packages", needs=("packages",)),
        pytests("all unit, oldest libraries", "tests/unit", venv=OLDEST),
        pytests("all namespaces, oldest libraries", "tests/netns", select=now, venv=OLDEST),
        Part(
            "all mutants", (f"{NEWEST}/bin/python", "tests/mutation/mutants.py"), ("environment",)
        ),
        pytests("all namespaces, timed", "tests/netns", select=alone, serial=True, env=WHOLE),
        pytests("all lab, timed", "tests/lab", select=alone, needs=HOSTS, serial=True, env=WHOLE),
    ]
