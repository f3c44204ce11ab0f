# SPDX-License-Identifier: Apache-2.0
"""Text for people: a plan line by line, and colour only on a terminal."""

import io
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from eni_facts import EFA_ONLY, IPV4_ONLY, eni, host, link, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.model.objects import Address, LinkRef, LinkSetting, Route, Rule, Setting
from ec2net.core.model.plan import Action, Change, Conflict, Plan
from ec2net.core.report import text
from ec2net.core.report.table import table

LINK = LinkRef(3, "ens6")
HOST = compute(
    host(eni(0), eni(1, **IPV4_ONLY), eni(2, **EFA_ONLY), links=(link(0), link(1), link(2))),
    Config(),
)
ADDRESS = Address(LINK, ip_interface("10.0.1.9/32"))
RULE = Rule(ip_network("10.0.1.9/32"), 10001, 10001)
PLAN = Plan(
    (
        Change(
            Action.REPLACE,
            LinkSetting(LINK, Setting.MTU, 9001),
            mac(1),
            before=LinkSetting(LINK, Setting.MTU, 1500),
        ),
        Change(Action.ADD, ADDRESS, mac(1)),
        Change(Action.REMOVE, RULE, mac(1)),
        Change(Action.REMOVE, Rule(ip_network("10.0.9.4/32"), 10009, 10009), None),
    ),
    (
        Conflict(
            mac(1),
            Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address("10.0.1.1")),
            Route(ip_network("0.0.0.0/0"), 10001, 0, LinkRef(9, "wg0")),
        ),
    ),
)

GOLDEN = """\
ens6 (eni-00000000000000001, card 0 device 1, table 10001)
  ~ link ens6 mtu 9001   (was: link ens6 mtu 1500)
  + address 10.0.1.9/32 dev ens6
  - rule 10001: from 10.0.1.9/32 lookup 10001
  ! route default via 10.0.1.1 dev ens6 table 10001: a foreign object is in its place:\
 route default dev wg0 table 10001
ens7 (eni-00000000000000002)
  no-address: attached without any IP address (EFA-only)
left over from detached ENIs
  - rule 10009: from 10.0.9.4/32 lookup 10009
1 to add, 1 to replace, 2 to remove."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_plan_is_shown_as_text() -> None:
    assert text.plan(PLAN, HOST, stream=io.StringIO()) == GOLDEN


def test_a_terminal_gets_the_same_text_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = text.plan(PLAN, HOST, stream=Terminal())
    assert "  \x1b[32m+ address 10.0.1.9/32 dev ens6\x1b[0m\n" in coloured
    assert "\x1b[33m~ " in coloured
    assert "\x1b[31m- " in coloured
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == GOLDEN


@pytest.mark.parametrize(
    ("stream", "no_color", "expected"),
    [
        (Terminal(), None, True),
        (Terminal(), "", True),
        (Terminal(), "1", False),
        (io.StringIO(), None, False),
    ],
)
def test_only_terminals_get_colour(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, no_color: str | None, expected: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert text.colours(stream) is expected


def test_an_empty_plan_names_only_enis_that_are_not_configured() -> None:
    assert text.plan(Plan(), compute(host(eni(0), eni(1)), Config())) == "Nothing to change."
    assert text.plan(Plan(), HOST, stream=io.StringIO()) == (
        "ens7 (eni-00000000000000002)\n"
        "  no-address: attached without any IP address (EFA-only)\n"
        "Nothing to change."
    )


def test_each_answer_has_a_title() -> None:
    assert [text.title(outcome) for outcome in HOST.enis] == [
        "ens5 (eni-00000000000000000, primary)",
        "ens6 (eni-00000000000000001, card 0 device 1, table 10001)",
        "ens7 (eni-00000000000000002)",
    ]


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(("LINK", "WHY"), [("ens6", ""), ("longer0", "because")]) == (
        "LINK     WHY\nens6\nlonger0  because"
    )
    assert table(("A", "B"), []) == "A  B"
