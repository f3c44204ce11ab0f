# SPDX-License-Identifier: Apache-2.0
"""The grammar contains every command of ec2net that a message suggests."""

import pytest
import suggestions

from ec2net.core.cli.main import parser


@pytest.mark.parametrize("words", suggestions.of("ec2net"), ids=" ".join)
def test_the_program_accepts_each_command_that_it_suggests(words: list[str]) -> None:
    assert parser().parse_args(words[1:]) is not None


def test_the_search_finds_commands_of_each_program() -> None:
    """In messages, also behind '&&', in quotes and with values filled in; none in docstrings."""
    found = suggestions.commands()
    assert {command.split()[0] for command in found} == set(suggestions.PROGRAMS)
    for command in (
        "ec2net migrate --from amazon-ec2-net-utils",
        "ip link set ens6 up",
        "networkctl renew ens6",
        "nmcli device reapply ens6",
        "systemctl --failed",
        "systemctl mask --now cloud-init-hotplugd.socket",
    ):
        assert command in found
