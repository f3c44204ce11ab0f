# SPDX-License-Identifier: Apache-2.0
"""A command of the host may print any bytes."""

from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline


def test_bytes_that_are_not_utf_8_are_no_failure() -> None:
    """Foreign names and comments, as nft and systemctl repeat them."""
    done = run_bounded(["printf", r"a\377b"], Deadline(5))
    assert (done.returncode, done.stdout) == (0, "a\N{REPLACEMENT CHARACTER}b")
