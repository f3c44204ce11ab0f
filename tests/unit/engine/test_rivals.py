# SPDX-License-Identifier: Apache-2.0
"""Which ENIs are refused because another tool configures them, and the message."""

from typing import Any

import pytest
from eni_facts import eni, host, link, mac

from ec2net.core.config.settings import (
    Config,
    EniSection,
    EniSettings,
    Manage,
    Match,
    Rival,
)
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.engine.rivals import refuse
from ec2net.core.host.files import Environment
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.choose import Choice

UNIT = "/run/systemd/units"
FIRST, SECOND = mac(0), mac(1)
CHOICES = {FIRST: Choice("netlink", ("a",)), SECOND: Choice("networkd", ("b",))}


def beside(*units: str) -> Environment:
    """A host on which these units are active."""
    names = tuple(f"invocation:{unit}" for unit in units)
    links = {f"{UNIT}/{name}": "1" for name in names}
    folders = {UNIT: names}
    return Environment(
        lambda path: None,
        links.get,
        lambda path: folders.get(path, ()),
        eni_links=(link(0), link(1)),
    )


def intents(config: Config) -> HostIntent:
    return compute(host(eni(0), eni(1)), config)


def refused(config: Config, environment: Environment) -> set[Mac]:
    after, choices, _ = refuse(intents(config), CHOICES, environment)
    found = {one.mac for one in after.enis if one.standing is Standing.REFUSED}
    assert {one.mac for one in after.enis if one.intent is None} == found
    assert {m for m, choice in choices.items() if choice.backend is None} == found
    assert all(one.apart for one in after.enis if one.mac in found)
    assert all(choices[m] == CHOICES[m] for m in CHOICES.keys() - found)
    return found


NET_UTILS, SUSE = "policy-routes@ens6.service", "cloud-netconfig.timer"
ACCEPTED = {"coexist_with": (Rival.NET_UTILS,)}


@pytest.mark.parametrize(
    ("settings", "units", "expected"),
    [
        ({}, (), set()),
        ({}, (NET_UTILS,), {SECOND}),
        ({}, (SUSE,), {FIRST, SECOND}),
        ({"coexist_with": (Rival.NET_UTILS,)}, (NET_UTILS,), set()),
        ({"coexist_with": (Rival.CLOUD_NETCONFIG,)}, (NET_UTILS,), {SECOND}),
        ({"coexist_with": (Rival.NET_UTILS,)}, (NET_UTILS, SUSE), {FIRST, SECOND}),
        ({"coexist_with": tuple(Rival)}, (NET_UTILS, SUSE), set()),
        ({"manage": Manage.OBSERVE}, (NET_UTILS,), set()),
        ({"manage": Manage.NO_RULES}, (NET_UTILS,), {SECOND}),
    ],
)
def test_an_eni_is_refused_unless_all_tools_that_configure_it_are_accepted(
    settings: dict[str, Any], units: tuple[str, ...], expected: set[Mac]
) -> None:
    assert refused(Config(eni=EniSettings(**settings)), beside(*units)) == expected


def test_a_tool_can_be_accepted_for_one_eni() -> None:
    config = Config(sections=(EniSection(Match(mac=(FIRST,)), {"coexist_with": tuple(Rival)}),))
    assert refused(config, beside(SUSE)) == {SECOND}


def test_the_error_names_the_tool_and_the_enis_and_both_remedies() -> None:
    after, choices, problems = refuse(intents(Config()), CHOICES, beside(NET_UTILS, SUSE))
    first, second = map(str, problems)
    assert first == (
        "amazon-ec2-net-utils: the tool configures ens6 (policy-routes@ens6.service is active or"
        " enabled), so ec2net changes nothing there (run: ec2net migrate --from amazon-ec2-net-utils;"
        ' or accept both: coexist_with = ["amazon-ec2-net-utils"])'
    )
    assert "the tool configures ens5, ens6 (" in second
    outcome = after.of(SECOND)
    assert outcome is not None
    assert outcome.reason == (
        "amazon-ec2-net-utils configures it (policy-routes@ens6.service is active or enabled);"
        " run: ec2net migrate --from amazon-ec2-net-utils"
    )
    assert choices[SECOND].reasons == (outcome.reason,)
