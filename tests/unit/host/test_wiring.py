# SPDX-License-Identifier: Apache-2.0
"""The units of a tool are found whatever started them, and its udev rule while it is in force."""

import pytest
from other_tools_host import ACTIVE, MASKED_RULE, NET_UTILS_RULE, NET_UTILS_TIMER, UNITS, host

from ec2net.core.host.wiring import NET_UTILS, NM_CLOUD_SETUP

RUNNING = ["policy-routes@ens6.service", "refresh-policy-routes@ens6.timer"]


def test_a_timer_that_only_systemd_reports_is_found_and_listed_first() -> None:
    """2.7.4's timer has no [Install] and no entry below /run/systemd/units."""
    environment = host(links={f"{ACTIVE}policy-routes@ens6.service": "1"}, working=RUNNING)
    assert NET_UTILS.working(environment) == tuple(reversed(RUNNING))
    assert NET_UTILS.working(environment, ask=False) == ("policy-routes@ens6.service",)


def test_foreign_units_do_not_belong_to_the_tool() -> None:
    others = ["policy-routes.service", "my-policy-routes@ens6.service", "nm-cloud-setup2.timer"]
    environment = host(links={f"{ACTIVE}{unit}": "1" for unit in others}, working=others)
    assert NET_UTILS.working(environment) == NM_CLOUD_SETUP.working(environment) == ()


def test_every_link_that_enables_a_unit_is_found() -> None:
    paths = [
        f"{UNITS}/{NET_UTILS_TIMER}",
        f"{UNITS}/multi-user.target.wants/policy-routes@ens5.service",
        f"{UNITS}/x.target.requires/policy-routes@ens5.service",
    ]
    environment = host(links={**dict.fromkeys(paths, "t"), f"{UNITS}/a.wants/b.service": "t"})
    assert set(NET_UTILS.enabling_links(environment)) == set(paths)


@pytest.mark.parametrize(
    ("files", "links", "in_force"),
    [
        ({NET_UTILS_RULE: "x"}, {}, True),
        ({NET_UTILS_RULE: "x", MASKED_RULE: "mine"}, {}, True),
        ({NET_UTILS_RULE: "x", MASKED_RULE: ""}, {}, False),
        ({NET_UTILS_RULE: "x"}, {MASKED_RULE: "/dev/null"}, False),
        ({NET_UTILS_RULE: " \n"}, {}, False),
        ({}, {}, False),
    ],
)
def test_its_udev_rule_counts_unless_it_is_empty_or_masked(
    files: dict[str, str], links: dict[str, str], in_force: bool
) -> None:
    assert NET_UTILS.rule_in_force(host(files, links)) is in_force
