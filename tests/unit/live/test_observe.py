# SPDX-License-Identifier: Apache-2.0
"""The items in place, with the journals' entries about them."""

from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from eni_facts import link, mac

from ec2net.core.kernel.session import Kernel
from ec2net.core.live.observe import observe, with_journaled
from ec2net.core.model.objects import (
    Address,
    LinkRef,
    LinkSetting,
    Setting,
)
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.state.journal import Journal, Journals
from ec2net.core.state.run_dir import RunDir

FIRST, SECOND = LinkRef(3, "ens6"), LinkRef(4, "ens7")


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(RunDir(tmp_path))


def test_recorded_addresses_count_as_marked_ones(journals: Journals) -> None:
    """Debian 12's pyroute2 cannot mark any: the next pass removed the addresses of the first."""
    mine, others = ip_interface("10.0.1.4/24"), ip_interface("10.0.1.5/24")
    journals.write(mac(1), Journal(3, addresses={mine}))
    journals.write(mac(2), Journal(9, addresses={others}))  # from an earlier attachment
    links = (link(1), link(2))
    there = [(FIRST, mine), (FIRST, others), (SECOND, others)]
    snapshot = Snapshot(links, tuple(Found(Address(*one), 0) for one in there))
    found = with_journaled(snapshot, journals, 236).addresses
    assert [one.protocol for one in found] == [236, 0, 0]


@pytest.mark.parametrize(
    ("before", "now", "ours"),
    [
        (9001, {}, True),
        (9001, {"mtu_max": 9216}, True),
        (9001, {"mtu_max": 3498}, False),
        (1279, {}, False),
        (1279, {"ipv6": False}, True),
    ],
)
def test_an_earlier_mtu_is_restored_only_where_that_is_safe(
    journals: Journals, before: int, now: dict[str, Any], ours: bool
) -> None:
    """An XDP program was attached meanwhile, and each pass failed to restore 9001; or it restored
    an MTU below 1280, which removed IPv6 from the link. The journal keeps the value."""
    journals.write(mac(1), Journal(3, {Setting.MTU: before}))
    one = link(1, mtu=1500, **now)
    found = observe(Snapshot((one,)), (one,), Kernel(236), journals)
    setting = LinkSetting(FIRST, Setting.MTU, 1500)
    assert (setting in found.ours, setting in found.adjustable) == (ours, not ours)
    assert journals.read(mac(1), 3).before == {Setting.MTU: before}
