# SPDX-License-Identifier: Apache-2.0
"""The schema against the types, and the example file against the schema."""

import re
import tomllib
from dataclasses import fields

import pytest
from checkout import TOP

from ec2net.core.config.schema import (
    MATCH,
    SECTION_SETTINGS,
    SETTINGS,
    example_text,
)
from ec2net.core.config.settings import (
    Config,
    EniSection,
    EniSettings,
    Match,
    MtuPolicy,
    Role,
)
from ec2net.core.config.tree import from_dict, read_tree

PACKAGED = TOP / "packaging/ec2net.toml"


def test_the_packaged_file_matches_the_schema() -> None:
    assert PACKAGED.read_text() == example_text(), (
        "write config_schema.example_text() to packaging/ec2net.toml"
    )


def test_the_unchanged_example_changes_nothing() -> None:
    assert from_dict(tomllib.loads(example_text())) == Config()


def test_the_uncommented_example_is_the_default_and_names_every_setting() -> None:
    text = re.sub(r"^#(?=[a-z\[])", "", example_text(), flags=re.MULTILINE)
    problems: list[str] = []
    tree = tomllib.loads(text)
    found = read_tree(tree, lambda problem, _: problems.append(problem))
    assert problems == []
    assert set(found.values) == set(SETTINGS)
    section = EniSection(
        Match(card=1, role=Role.SECONDARY),
        {"mtu": MtuPolicy.KEEP},
    )
    assert from_dict(tree) == Config(sections=(section,))


def test_the_example_fits_a_terminal() -> None:
    assert max(map(len, example_text().splitlines())) <= 100


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda s: s.key)
def test_each_default_is_allowed_and_each_meaning_is_one_sentence(setting) -> None:  # type: ignore[no-untyped-def]
    setting.kind.parse(setting.default)
    assert setting.meaning.endswith(".")
    assert "\n" not in setting.meaning


def test_sections_can_set_each_setting_of_an_eni() -> None:
    settings = [f.name for f in fields(EniSettings)]
    assert list(SECTION_SETTINGS) == settings
    assert [f.name for f in fields(Match)] == list(MATCH)


def test_last_words_of_keys_are_unique() -> None:
    """Hints go by them."""
    words = [key.rpartition(".")[2] for key in SETTINGS]
    assert len(set(words)) == len(words)
