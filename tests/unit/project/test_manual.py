# SPDX-License-Identifier: Apache-2.0
"""The manual pages are up to date, render without a warning, and lose no text."""

import re
import subprocess
from pathlib import Path

import manual
import pytest
import roff

from ec2net.core.config.schema import MATCH, SETTINGS

PAGES = manual.pages()
NAMES = [path.name for path in PAGES]


def rendered(page: str) -> str:
    """The text on a terminal, in one line. Fails on any warning of groff."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=1000n"],
        input=page,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


def test_the_pages_are_up_to_date() -> None:
    assert NAMES == ["ec2net-backends.7", "ec2net.8", "ec2net.toml.5"]
    for path, content in PAGES.items():
        assert path.read_text() == content, (
            "run EC2NET_WRITE=1 pytest tests/unit/project/test_docs.py"
        )


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_a_page_shows_all_of_its_source_and_no_markup(path: Path) -> None:
    shown = rendered(PAGES[path])
    text = manual.source_text(Path(f"{path}.md")).partition("\n")[2]
    for line in text.split("\n"):
        words = re.sub(r"^(#+|:|-) ", "", line)
        if line.startswith("## "):
            words = words.upper()
        if not line.startswith("    "):
            words = re.sub(r"`([^`]+)`|\*([^*]+)\*", r"\1\2", words)
        assert " ".join(words.split()) in shown, line
    assert "`" not in shown


def test_every_command_and_option_is_in_ec2net_8() -> None:
    shown = rendered(PAGES[manual.FOLDER / "ec2net.8"])
    for name, command in manual.commands().items():
        assert f"ec2net {name}" in shown
        for action in command._actions:
            assert all(option in shown for option in action.option_strings), name


def test_commands_of_the_documents_are_shown_line_by_line() -> None:
    """Also those that a section begins with."""
    assert "\n.EX\n# ec2net status\n" in PAGES[manual.FOLDER / "ec2net.8"]
    assert "\n.EX\n# mkdir ec2net_static" in PAGES[manual.FOLDER / "ec2net-backends.7"]


def test_every_setting_is_in_ec2net_toml_5() -> None:
    shown = rendered(PAGES[manual.FOLDER / "ec2net.toml.5"])
    for key in (*SETTINGS, *MATCH):
        assert f" {key} " in shown, key


@pytest.mark.parametrize(
    "words",
    [".TH is no macro here", "'quoted' at the start", "back\\slash", "a-b --option ~ ^ '"],
)
def test_text_that_roff_would_interpret_is_shown_unchanged(words: str) -> None:
    for markdown in (words, f"`{words}`", f"    {words}", f"term\n: {words}", f"- {words}"):
        page = roff.page(markdown, "x", 7, "y")
        assert words in rendered(page), markdown
