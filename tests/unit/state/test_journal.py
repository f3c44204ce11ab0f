# SPDX-License-Identifier: Apache-2.0
"""A damaged journal costs what is wrong in it, and no more."""

import json
from pathlib import Path

import pytest

from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Setting
from ec2net.core.state.journal import Journals
from ec2net.core.state.run_dir import RunDir

MAC = Mac.parse("06:ec:02:00:00:01")


@pytest.mark.parametrize("value", [-1, 2**31, 10**30])
def test_a_number_that_no_link_can_have_is_not_given_back(tmp_path: Path, value: int) -> None:
    """``remove`` failed as a whole when the number did not fit into the kernel's message."""
    (tmp_path / "journal").mkdir()
    content = {
        "ifindex": 3,
        "before": {"mtu": value, "group": 7},
        "altnames": ["eni-1"],
        "addresses": ["10.0.1.5/32"],
    }
    (tmp_path / "journal" / f"{MAC}.json").write_text(json.dumps(content))
    journal = Journals(RunDir(tmp_path)).read(MAC, 3)
    assert journal.before == {Setting.GROUP: 7}
    assert journal.altnames == {"eni-1"}
    assert len(journal.addresses) == 1
