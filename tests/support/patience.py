# SPDX-License-Identifier: Apache-2.0
"""Limits after which a test considers a process hung, and a limit as a message prints it."""

import re

HANGS = 20.0
"""Seconds. No busy machine needs so long for one step; every fault in these tests lasts longer."""


def told_bound(message: str) -> float:
    """The seconds in ``WHAT did not end within N s``: the bound that the program gave to WHAT."""
    found = re.search(r"did not end within ([\d.e-]+) s", message)
    assert found is not None, message
    return float(found[1])
