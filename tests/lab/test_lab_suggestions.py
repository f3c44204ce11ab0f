# SPDX-License-Identifier: Apache-2.0
"""The real systemctl, networkctl, nmcli and journalctl accept each suggested command."""

import re

import pytest
import suggestions
from lab_boot import Boot

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkmanager")]

_NOT_TAKEN = re.compile(
    r"unrecognized option|invalid option|unknown (command|operation|verb)|not understood|usage:"
    r"|requires? (exactly|at least)|too (few|many) arguments|invalid argument|missing",
    re.IGNORECASE,
)


def test_every_suggested_command_is_accepted(boot: Boot) -> None:
    """A missing unit is no fault of the command."""
    with boot() as instance:
        instance.attach("ens6")
        instance.complete()
        for program in ("systemctl", "networkctl", "nmcli", "journalctl"):
            found = suggestions.of(program)
            assert found, program
            for words in found:
                done = instance.host.run(
                    [words[0], *_PAGER.get(program, ()), *words[1:]], check=False
                )
                said = f"{' '.join(words)}: {done.stdout}{done.stderr}"
                assert not _NOT_TAKEN.search(done.stderr), said


_PAGER = {"systemctl": ("--no-pager",), "journalctl": ("--no-pager",)}
