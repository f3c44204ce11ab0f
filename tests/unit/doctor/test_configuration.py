# SPDX-License-Identifier: Apache-2.0
"""Errors of the configuration and unused sections, as doctor reports them."""

from pathlib import Path

import pytest
from doctor_host import ERROR, FACTS, NOTE, told

from ec2net.core.config.files import load
from ec2net.core.doctor.configuration import broken, unused_sections
from ec2net.core.doctor.finding import Check


def write(root: Path, text: str) -> str:
    file = root / "etc/ec2net/ec2net.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return str(file)


def test_each_error_is_reported_with_the_configuration_in_force(tmp_path: Path) -> None:
    file = write(tmp_path, "mtuu = 1500\nmtu = []\n")
    found = list(broken(load(tmp_path)))
    assert told(found) == [(ERROR, Check.CONFIGURATION, file)] * 2
    assert "the built-in settings are in force" in found[0].cause
    assert "systemctl reload ec2net.service" in found[0].remedy
    (first, *_) = broken(load(tmp_path, {}))
    assert "the last good configuration stays in force" in first.cause


@pytest.mark.parametrize(
    ("match", "unused"),
    [
        ("device = 7", True),
        ('name = "eth*"', True),
        ('id = "eni-0123456789abcdef0"', True),
        ("device = 1", False),
        ('name = "ens*"', False),
        ('attached = "later"', True),
    ],
)
def test_a_section_that_matches_no_eni_is_reported(
    tmp_path: Path, match: str, unused: bool
) -> None:
    file = write(tmp_path, f"[[eni]]\nmatch = {{ {match} }}\nmtu = 1500\n")
    loaded = load(tmp_path)
    assert loaded.errors == ()
    found = list(unused_sections(loaded, FACTS))
    assert told(found) == ([(NOTE, Check.CONFIGURATION, file)] if unused else [])
    assert all(match.replace('"', "") in one.cause for one in found)
