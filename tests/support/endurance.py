# SPDX-License-Identifier: Apache-2.0
"""How long tests of endurance go on.

``EC2NET_ENDURANCE`` is a factor of their whole length: ``make test`` runs a fifth, which shows each
behaviour; ``make test-all`` runs 1, which also shows what grows slowly.
"""

import os

FACTOR = float(os.environ.get("EC2NET_ENDURANCE", "0.2"))


def rounds(whole: int) -> int:
    """How many of a whole test's rounds to run."""
    return max(1, round(whole * FACTOR))
