# SPDX-License-Identifier: Apache-2.0
"""Asking the kernel for a link's driver."""

import os

from ec2net.core.kernel.driver import Drivers


def test_a_link_without_a_driver_and_a_missing_link_have_none() -> None:
    with Drivers() as drivers:
        assert (drivers.of("lo"), drivers.of("ghost0")) == ("", "")


def test_no_descriptor_stays_open() -> None:
    """The daemon reads the driver with every event of a link."""
    before = os.listdir("/proc/self/fd")
    asked = Drivers()
    with asked:
        asked.of("lo")
    assert os.listdir("/proc/self/fd") == before
