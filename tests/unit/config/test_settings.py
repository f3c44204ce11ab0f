# SPDX-License-Identifier: Apache-2.0
"""Which settings apply to one ENI."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest

from ec2net.core.config.settings import (
    ANY_LATER,
    Config,
    EniIdentity,
    EniSection,
    EniSettings,
    Manage,
    Match,
    MtuPolicy,
    Profile,
    Role,
)
from ec2net.core.model.identity import Attached, EniId, Mac

MAC = Mac("06:53:e1:d8:f9:29")
OTHER_MAC = Mac("06:53:e1:d8:f9:2a")
ID = EniId("eni-0304feb62015b7959")
OTHER_ID = EniId("eni-0304feb62015b795a")

KNOWN = EniIdentity(
    mac=MAC,
    eni_id=ID,
    card=1,
    device=2,
    subnet_ipv4=IPv4Network("10.0.16.0/20"),
    subnet_ipv6=(IPv6Network("2001:db8:1::/64"), IPv6Network("2001:db8:2::/64")),
    link_name="ens6",
    is_primary=False,
    attached=Attached.LATER,
)
UNKNOWN = EniIdentity(mac=MAC)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), False),
        (Match(mac=(MAC,)), True),
        (Match(mac=(OTHER_MAC, MAC)), True),
        (Match(mac=(OTHER_MAC,)), False),
        (Match(id=(OTHER_ID, ID)), True),
        (Match(id=(OTHER_ID,)), False),
        (Match(card=1), True),
        (Match(card=0), False),
        (Match(device=2), True),
        (Match(device=0), False),
        (Match(subnet=IPv4Network("10.0.16.0/20")), True),
        (Match(subnet=IPv4Network("10.0.0.0/8")), True),
        (Match(subnet=IPv4Network("10.0.16.0/21")), False),
        (Match(subnet=IPv6Network("2001:db8:2::/48")), True),
        (Match(subnet=IPv6Network("2001:db8:3::/48")), False),
        (Match(name=("ens6",)), True),
        (Match(name=("eth*", "ens?")), True),
        (Match(name=("ens[1-5]",)), False),
        (Match(name=("ENS*",)), False),
        (Match(name=("ns6",)), False),
        (Match(role=Role.SECONDARY), True),
        (Match(role=Role.PRIMARY), False),
        (Match(attached=Attached.LATER), True),
        (Match(attached=Attached.BOOT), False),
        (Match(card=1, device=2, name=("ens*",)), True),
        (Match(card=1, device=3, name=("ens*",)), False),
    ],
)
def test_a_section_matches_by_its_criteria(match: Match, expected: bool) -> None:
    assert match.matches(KNOWN) is expected


@pytest.mark.parametrize(
    "match",
    [
        Match(id=(ID,)),
        Match(card=0),
        Match(device=0),
        Match(subnet=IPv4Network("0.0.0.0/0")),
        Match(subnet=IPv6Network("::/0")),
        Match(name=("*",)),
        Match(role=Role.PRIMARY),
        Match(role=Role.SECONDARY),
        Match(attached=Attached.BOOT),
        Match(attached=Attached.LATER),
    ],
)
def test_an_unknown_fact_does_not_match(match: Match) -> None:
    assert not match.matches(UNKNOWN)


def test_card_and_device_0_match() -> None:
    assert Match(card=0, device=0).matches(replace(KNOWN, card=0, device=0))


def test_without_sections_every_eni_gets_the_general_settings() -> None:
    config = Config(eni=EniSettings(manage=Manage.OBSERVE))
    assert config.for_eni(KNOWN) == EniSettings(manage=Manage.OBSERVE)


def test_a_later_section_takes_precedence_key_by_key() -> None:
    config = Config(
        eni=EniSettings(primary_rules=True, backend="netlink"),
        sections=(
            EniSection(Match(card=1), {"mtu": 1500, "manage": Manage.NO_RULES}),
            EniSection(Match(card=0), {"backend": "networkd"}),
            EniSection(Match(device=2), {"mtu": MtuPolicy.KEEP, "primary_rules": False}),
            EniSection(Match(mac=(MAC,)), {"altnames": ()}),
        ),
    )
    assert config.for_eni(KNOWN) == EniSettings(
        manage=Manage.NO_RULES,
        backend="netlink",
        primary_rules=False,
        mtu=MtuPolicy.KEEP,
        altnames=(),
    )


def test_a_section_without_settings_changes_nothing() -> None:
    config = Config(eni=EniSettings(mtu=9001), sections=(EniSection(Match(card=1), {}),))
    assert config.for_eni(KNOWN) == EniSettings(mtu=9001)


KUBERNETES = Config(profile=Profile.KUBERNETES)


@pytest.mark.parametrize(
    ("attached", "manage"),
    [
        (Attached.BOOT, Manage.NO_ADDRESSES),
        (Attached.LATER, Manage.IGNORE),
        (None, Manage.FULL),
    ],
)
def test_the_kubernetes_profile_sets_its_values(attached: Attached | None, manage: Manage) -> None:
    """R30."""
    assert KUBERNETES.for_eni(replace(KNOWN, attached=attached)) == EniSettings(manage=manage)
    assert Config().for_eni(replace(KNOWN, attached=attached)) == EniSettings()


def test_a_profile_applies_before_every_section_and_after_the_general_settings() -> None:
    config = Config(
        eni=EniSettings(manage=Manage.OBSERVE, mtu=1500),
        profile=Profile.KUBERNETES,
        sections=(EniSection(Match(card=1), {"manage": Manage.NO_RULES}),),
    )
    assert config.for_eni(KNOWN) == EniSettings(manage=Manage.NO_RULES, mtu=1500)
    assert config.for_eni(replace(KNOWN, card=2)) == EniSettings(manage=Manage.IGNORE, mtu=1500)


def test_settings_of_an_eni_are_partly_known_before_its_attachment() -> None:
    assert KUBERNETES.for_eni(ANY_LATER).manage.hands_off
    named = EniSection(Match(mac=(MAC,)), {"manage": Manage.IGNORE})
    assert not Config(sections=(named,)).for_eni(ANY_LATER).manage.hands_off
