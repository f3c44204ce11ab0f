# SPDX-License-Identifier: Apache-2.0
"""Whether ``doctor`` may ask gateways."""

from pathlib import Path

import pytest

from ec2net.core.doctor import readings
from ec2net.core.runtime.deadline import Deadline


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        pytest.param("CapEff:\t000001ffffffffff\n", True, id="root"),
        pytest.param("CapEff:\t0000000000001000\n", True, id="CAP_NET_ADMIN alone"),
        pytest.param("CapEff:\t000001ffffffefff\n", False, id="all but CAP_NET_ADMIN"),
        pytest.param("CapEff:\t0000000000000000\n", False, id="a user"),
        pytest.param("CapPrm:\t000001ffffffffff\n", False, id="not told"),
        pytest.param(None, True, id="no /proc: the kernel will say"),
    ],
)
def test_gateways_are_asked_only_with_the_privilege(
    status: str | None, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, no answer is no news: a gateway that was not asked is not called silent."""
    file = tmp_path / "status"
    if status is not None:
        file.write_text(status)
    monkeypatch.setattr(readings, "Path", lambda _: file)
    assert readings.ask_gateways((), Deadline(5)) == (() if asked else None)
