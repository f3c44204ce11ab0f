# SPDX-License-Identifier: Apache-2.0
"""The texts of a release come only from pyproject.toml and the version."""

import shutil
from pathlib import Path

import pytest
import release
from checkout import TOP

FORK = {"ec2net.invalid": "fork.example", "ec2net maintainers": "Ada Example"}
SOURCES = ("pyproject.toml", "CHANGELOG.md", "src/ec2net/__init__.py", "packaging/rpm/vendor.txt")


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree of a fork that edited pyproject.toml alone."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    for name in (*release.FILLED, *SOURCES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tmp_path / name)
    project = tmp_path / "pyproject.toml"
    text = project.read_text()
    for old, new in FORK.items():
        text = text.replace(old, new)
    project.write_text(text)
    return tmp_path


def texts(top: Path) -> dict[str, str]:
    return {name: (top / name).read_text() for name in release.FILLED}


def test_every_package_names_the_maintainer_and_the_addresses_of_a_fork(fork: Path) -> None:
    release.fill(fork)
    found = texts(fork)
    maintainer = "Ada Example <maintainers@fork.example>"
    assert f"Maintainer: {maintainer}\n" in found["packaging/debian/control"]
    assert f" -- {maintainer}  Thu, 01 Jan 2026" in found["packaging/debian/changelog"]
    assert f" 2026 {maintainer} - " in found["packaging/rpm/ec2net.spec"]
    others = {name for name, text in found.items() if "fork.example" not in text}
    assert others == {name for name in release.FILLED if "/man/" in name}
    assert '"8" "2026-01-01" "ec2net ' in found["packaging/man/ec2net.8"]
    assert ".invalid" not in "".join(found.values())


def test_a_filled_tree_has_no_placeholder_and_stays_unchanged(fork: Path) -> None:
    release.fill(fork)
    once = texts(fork)
    assert [name for name, text in once.items() if "@VERSION@" in text] == []
    release.fill(fork)
    assert texts(fork) == once


def test_the_notes_are_the_section_of_the_version(fork: Path) -> None:
    number = release.version(fork)
    changelog = fork / "CHANGELOG.md"
    changelog.write_text(
        f"# Changelog\n\n## {number} - 2026-01-01\n\n### Added\n\n- One\n  item, 100%.\n\n## 0.0.1 - x\n\n- Old.\n"
    )
    assert release.notes(fork) == "### Added\n\n- One\n  item, 100%.\n"
    assert release.items(fork) == "- One item, 100%%."
    changelog.write_text("# Changelog\n\n## 99.0.0 - 2026-01-01\n")
    with pytest.raises(ValueError, match=number):
        release.notes(fork)


def test_each_library_has_its_licence_and_the_program_all_of_them(fork: Path) -> None:
    pins = [
        line
        for line in (fork / "packaging/rpm/vendor.txt").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert len(release.libraries(fork)) == len(pins)
    assert release.licences(fork).startswith("Apache-2.0 AND ")
    assert "(GPL-2.0-or-later OR Apache-2.0)" in release.licences(fork)


def test_an_unknown_placeholder_is_an_error(fork: Path) -> None:
    (fork / release.FILLED[0]).write_text("@WHATEVER@")
    with pytest.raises(KeyError, match="WHATEVER"):
        release.fill(fork)
