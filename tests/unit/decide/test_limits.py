# SPDX-License-Identifier: Apache-2.0
"""An MTU that the device refuses is a conflict of its ENI alone, and no backend gets it."""

from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.config.settings import Config, EniSettings, MtuPolicy
from ec2net.core.decide.compute import compute
from ec2net.core.decide.limits import within_limits
from ec2net.core.model.snapshot import Snapshot

FACTS = host(eni(0), eni(1))


def limited(mtu: Any, **limits: int) -> tuple[list[Any], dict[Any, str]]:
    """The MTUs that are left, and the conflicts; ENI 1 has the limits."""
    whole = compute(FACTS, Config(eni=EniSettings(mtu=mtu)))
    snapshot = Snapshot((link(0), link(1, mtu=1500, **limits)))
    left, conflicts = within_limits(whole, snapshot)
    return [intent.mtu for intent in left.ready], {m: c.describe() for m, c in conflicts.items()}


@pytest.mark.parametrize(
    ("mtu", "limits", "told"),
    [
        (9001, {"mtu_max": 3498}, "at most 3498, so the MTU stays 1500 (set mtu to 3498 or less"),
        (1500, {"mtu_min": 1600}, "at least 1600, so the MTU stays 1500 (set mtu to 1600 or more"),
    ],
)
def test_an_mtu_outside_the_limits_is_a_conflict_of_that_eni_only(
    mtu: int, limits: dict[str, int], told: str
) -> None:
    """Each pass sent it to the kernel again, and failed with EINVAL."""
    left, conflicts = limited(mtu, **limits)
    assert left == [mtu, MtuPolicy.KEEP]
    assert conflicts == {mac(1): f'link ens6 mtu {mtu}: the device accepts {told}, or to "keep")'}


@pytest.mark.parametrize("mtu", [3498, 1500, MtuPolicy.DHCP, MtuPolicy.KEEP])
@pytest.mark.parametrize("limits", [{}, {"mtu_min": 68, "mtu_max": 3498}, {"mtu_max": 0}])
def test_an_mtu_within_the_limits_stays(mtu: Any, limits: dict[str, int]) -> None:
    """Many virtual devices have no maximum: the kernel calls that 0."""
    assert limited(mtu, **limits) == ([mtu, mtu], {})
