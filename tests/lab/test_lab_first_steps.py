# SPDX-License-Identifier: Apache-2.0
"""docs/first-steps.md, command by command, for a reader who has only the documents."""

import re
from collections.abc import Iterator

import lab_package
import pytest
from checkout import TOP
from kernel_state import marked
from lab_root import RELEASES, Release
from lab_unpackaged import plain, until_leased

pytestmark = pytest.mark.lab

DOCUMENT = (TOP / "docs/first-steps.md").read_text()

BACKEND = "ec2net_static.py"
"""The file name under which the reader saves the complete backend of docs/plugins.md."""


def sections() -> dict[str, str]:
    """By their titles."""
    titled = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]
    return {title: text for title, _, text in (part.partition("\n") for part in titled)}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of the blocks, and its documented output."""
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for told in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            command, *lines = told.splitlines()
            yield command, lines


def complete_backend() -> str:
    """The module at the end of docs/plugins.md."""
    text = (TOP / "docs/plugins.md").read_text()
    *_, module = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return str(module)


def pattern(line: str) -> str:
    """``...`` matches any text, and columns may have any width."""
    words = [re.escape(word).replace(r"\.\.\.", ".*") for word in line.split()]
    return r"^\s*" + r"\s*".join(words)


def test_the_document_has_commands() -> None:
    assert len([command for text in sections().values() for command, _ in commands(text)]) > 50
    assert f"`{BACKEND}`" in DOCUMENT


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.value)
def test_each_command_has_the_effect_in_the_document(release: Release) -> None:
    with plain(release) as instance:
        host = instance.host
        until_leased(instance)
        deb = lab_package.built()
        (host.root / "root" / deb.name).write_bytes(deb.read_bytes())
        (host.root / "root" / BACKEND).write_text(complete_backend())
        for title, text in sections().items():
            for command, lines in commands(text):
                done = host.run(["sh", "-c", f"cd /root && {command}"], check=False, timeout=120)
                said = done.stdout + done.stderr
                for line in lines:
                    assert re.search(pattern(line), said, re.MULTILINE), f"{command}:\n{said}"
                assert lines or done.returncode == 0, f"{command}:\n{said}"
            if title == "Install":
                instance.complete()
            if title == "Write a backend":  # attached and detached, without an address meanwhile
                told = host.run(["journalctl", "--unit=ec2net.service", "--output=cat"]).stdout
                assert "backend can manage this ENI" in told
                assert "- address" not in told
        left = marked(instance.kernel())
        assert [line for line in left if "ens6" in line or "10001" in line] == []
        assert instance.unreachable(instance.primary) == []
        assert host.run(["sh", "-c", "command -v ec2net"], check=False).stdout == ""
