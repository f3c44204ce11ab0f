# SPDX-License-Identifier: Apache-2.0
"""A pause under the real unit, across a reboot."""

import pytest
from lab_boot import Boot
from lab_instance import MANY, LabInstance

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd"), pytest.mark.first_setting]


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, **MANY)
    instance.vpc.attach(instance.two, **MANY)


def test_a_pause_holds_under_the_unit_and_survives_a_reboot(boot: Boot) -> None:
    with boot(before=two) as instance:
        instance.until_at_rest()
        host = instance.host
        assert "Changes are paused" in host.ec2net("pause", "--for", "1h").stdout
        host.run(["ip", "rule", "del", "priority", "10001"])
        before = host.run(["ip", "rule"]).stdout
        host.ec2net("refresh")
        assert host.run(["ip", "rule"]).stdout == before
        host.reboot()
        host.wait_until(lambda: not instance.unreachable(instance.primary), 60, "the primary ENI")
        shown = host.ec2net("status", check=False).stdout
        assert shown.startswith("Changes are paused until "), shown
        assert "10001:" not in host.run(["ip", "rule"]).stdout
        first = str(instance.secondary.ipv4s[0])
        host.wait_until(lambda: first in host.run(["ip", "addr"]).stdout, 60, "the base")
        host.ec2net("resume")
        instance.complete()
