# SPDX-License-Identifier: Apache-2.0
"""``make release-check`` finds the obstacles to a release."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import TOP

import ec2net

VERSION = ec2net.__version__


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that can be released."""
    for name in ("packaging/release-check.sh", "src/ec2net/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(TOP / name, tmp_path / name)
    text = (TOP / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace("ec2net.invalid", "fork.example"))
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} - 2026-01-31\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(tree: Path, *arguments: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *who, *arguments], cwd=tree, check=True, timeout=30)


def commit(tree: Path) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--allow-empty", "--message=x")


def complaints(tree: Path) -> list[str]:
    done = subprocess.run(
        [tree / "packaging/release-check.sh"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = done.stderr.splitlines()
    assert done.returncode == bool(said)
    assert done.stdout or said
    return said


def test_a_release_in_order_passes_before_and_after_its_tag(tree: Path) -> None:
    git(tree, "tag", "v0.0.9")
    assert complaints(tree) == []
    git(tree, "tag", f"v{VERSION}")
    assert complaints(tree) == []


def test_an_uncommitted_change_blocks_a_release(tree: Path) -> None:
    (tree / "new").touch()
    assert len(complaints(tree)) == 1


def test_a_changelog_without_the_version_blocks_a_release(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} - unreleased\n")
    commit(tree)
    [said] = complaints(tree)
    assert "CHANGELOG.md" in said


def test_a_placeholder_address_blocks_a_release(tree: Path) -> None:
    """The project's tree has placeholders; a fork writes its addresses into pyproject.toml."""
    shutil.copy(TOP / "pyproject.toml", tree)
    commit(tree)
    said = "\n".join(complaints(tree))
    for key in ("authors", "Homepage", "Issues", "security-contact"):
        assert re.search(rf"pyproject.toml:\d+:{key} = ", said)


@pytest.mark.parametrize("tags", [[f"v{VERSION}"], ["v99.0.0"]], ids=["same", "newer"])
def test_a_tag_of_another_commit_blocks_a_release(tree: Path, tags: list[str]) -> None:
    for tag in tags:
        git(tree, "tag", tag)
    commit(tree)
    [said] = complaints(tree)
    assert tags[0] in said
