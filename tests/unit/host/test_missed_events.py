# SPDX-License-Identifier: Apache-2.0
"""Names of units for links that udev never saw."""

import pytest

from ec2net.core.host.missed_events import _unescaped, escaped


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("ens6", "ens6"),
        ("lan-0", r"lan\x2d0"),
        ("eth0.5", "eth0.5"),
        (".a", r"\x2ea"),
        ("ü", r"\xc3\xbc"),
    ],
)
def test_a_unit_name_contains_the_link_name(name: str, instance: str) -> None:
    """As systemd-escape(1) escapes it."""
    assert escaped(name) == instance
    assert _unescaped(instance) == name
