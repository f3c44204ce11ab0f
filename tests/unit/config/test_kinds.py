# SPDX-License-Identifier: Apache-2.0
"""Each value that is not allowed gives one message: key, value, allowed values, a hint."""

import datetime
import tomllib
from typing import Any

import pytest

from ec2net.core.config.kinds import toml_key, toml_value
from ec2net.core.config.settings import MainDefault
from ec2net.core.config.tree import from_dict, read_tree
from ec2net.core.model.errors import ConfigError, ExitStatus
from ec2net.core.model.numbers import HIGHEST
from ec2net.core.model.objects import LAST_PRIORITIES

PER_ENI = (
    "altnames, backend, coexist_with, dns_default_route, {}ipv4_fast_failure, ipv4_prefix_mode, ipv6, ipv6_prefix_mode, {}main_default, main_table, manage, {}mtu,"
    " {}primary_rules, {}published_ports, {}routed, routing, sources{}"
)
AT_THE_TOP = PER_ENI.format(
    "eni, ",
    "links, ",
    "metrics_file, ",
    "numbers, plugins, ",
    "profile, ",
    "resident, rollback, ",
    ", timeouts",
)
IN_A_SECTION = PER_ENI.format("", "", "match, ", "", "", "", "")
CRITERIA = "mac, id, card, device, subnet, name, role, attached"
MAC_ALLOWED = 'a MAC address, such as "06:53:e1:d8:f9:29", or a list of these'
ID_ALLOWED = 'an ENI id, such as "eni-0304feb62015b7959", or a list of these'
NAME_ALLOWED = 'a link name, or a glob over link names, such as "ens*", or a list of these'
SOURCES_ALLOWED = (
    "a list, each an address, or a CIDR with no host bits set,"
    ' such as "10.0.16.5" or "10.0.16.16/28"'
)
CIDR_ALLOWED = 'a CIDR with no host bits set, such as "10.0.16.0/20" or "2001:db8::/56"'
PROTOCOL = "a whole number from 128 to 254, but not 186 to 198 (routing daemons use those)"
MTU = '"dhcp", "keep" or a whole number from 576 to 65535'


def problems(text: str) -> list[str]:
    found: list[str] = []

    def report(problem: str, remedy: str) -> None:
        found.append(str(ConfigError(problem, remedy=remedy)))

    read_tree(tomllib.loads(text), report)
    return found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('manage = "all"', 'must be "full", "no-addresses", "no-rules", "observe" or "ignore"'),
        ("manage = true", 'must be "full", "no-addresses", "no-rules", "observe" or "ignore"'),
        ('backend = ""', 'must be a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        ('backend = "../x"', 'must be a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        ('backend = "x\\n"', 'must be a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        ("backend = 1", 'must be a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        ('routing = "on"', 'must be "main-first", "strict" or "off"'),
        ("routing = false", 'must be "main-first", "strict" or "off"'),
        ('primary_rules = "yes"', 'must be "auto", true or false'),
        ("primary_rules = 1", 'must be "auto", true or false'),
        ("mtu = 575", f"must be {MTU}"),
        ("mtu = 65536", f"must be {MTU}"),
        ("mtu = 1500.0", f"must be {MTU}"),
        ("mtu = true", f"must be {MTU}"),
        ('mtu = "1500"', f"must be {MTU}"),
        ('ipv4_prefix_mode = "rule"', 'must be "rules", "local" or "none"'),
        ('ipv6_prefix_mode = ["rules"]', 'must be "rules", "local" or "none"'),
        ("main_default = 0", 'must be "yes", "no" or a whole number from 1 to 4294967295'),
        ("main_default = 4294967296", 'must be "yes", "no" or a whole number from 1 to 4294967295'),
        ("main_default = true", 'must be "yes", "no" or a whole number from 1 to 4294967295'),
        ('ipv6 = "yes"', 'must be "auto", "on" or "off"'),
        ('altnames = "id"', 'must be a list, each "id" or "device-number"'),
        ('altnames = ["id", "name"]', 'must be a list, each "id" or "device-number"'),
        ('profile = "k8s"', 'must be "none" or "kubernetes"'),
        ("numbers.table_base = 255", "must be a whole number from 256 to 4294954496"),
        ("numbers.table_base = 4294954497", "must be a whole number from 256 to 4294954496"),
        ("numbers.priority_base = 1", "must be a whole number from 2 to 19962"),
        ("numbers.priority_base = 19963", "must be a whole number from 2 to 19962"),
        ("numbers.metric_base = 0", "must be a whole number from 1 to 4294954496"),
        ("numbers.metric_base = 4294954497", "must be a whole number from 1 to 4294954496"),
        ("numbers.protocol = 127", f"must be {PROTOCOL}"),
        ("numbers.protocol = 255", f"must be {PROTOCOL}"),
        ("numbers.protocol = 186", f"must be {PROTOCOL}"),
        ("numbers.protocol = 198", f"must be {PROTOCOL}"),
        ("numbers.mark_shift = 21", "must be a whole number from 0 to 20"),
        ("numbers.link_group = 0", "must be a whole number from 1 to 2147483647"),
        ("numbers.link_group = 2147483648", "must be a whole number from 1 to 2147483647"),
        ('links.drivers = "ena"', "must be a list of at least one, each a driver's name"),
        ("links.drivers = []", "must be a list of at least one, each a driver's name"),
        ('links.drivers = ["e/a"]', "must be a list of at least one, each a driver's name"),
        ("timeouts.pass = 0", "must be a number of seconds from 1 to 300"),
        ("timeouts.pass = 300.5", "must be a number of seconds from 1 to 300"),
        ("timeouts.pass = true", "must be a number of seconds from 1 to 300"),
        ("timeouts.pass = nan", "must be a number of seconds from 1 to 300"),
        ("timeouts.pass = inf", "must be a number of seconds from 1 to 300"),
        ("timeouts.link = 0", "must be a number of seconds from 0.1 to 600"),
        ("timeouts.link = 601", "must be a number of seconds from 0.1 to 600"),
        ("timeouts.lock = 0.05", "must be a number of seconds from 0.1 to 300"),
        ('timeouts.lock = "20s"', "must be a number of seconds from 0.1 to 300"),
        ("rollback.after = -1", "must be a number of seconds from 0 to 60"),
        ("rollback.after = 61", "must be a number of seconds from 0 to 60"),
        ("plugins.disabled = [1]", "must be a list, each a plugin's name"),
        ('routed = ["10.0.2.5/24"]', f"must be {SOURCES_ALLOWED}"),
        ('routed = "10.0.2.5"', f"must be {SOURCES_ALLOWED}"),
        ('sources = ["0.0.0.0/0"]', f"must be {SOURCES_ALLOWED}"),
        ('sources = ["127.0.0.1"]', f"must be {SOURCES_ALLOWED}"),
        ('sources = ["fe80::1"]', f"must be {SOURCES_ALLOWED}"),
        ('sources = ["ff02::1"]', f"must be {SOURCES_ALLOWED}"),
        ("numbers = 5", "must be a table, [numbers]"),
        ("links = []", "must be a table, [links]"),
        ('eni = "x"', "must be sections, each headed [[eni]]"),
        ("eni = [1]", "must be sections, each headed [[eni]]"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(text: str, message: str) -> None:
    assert problems(text) == [f"{text}: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('match.mac = "zz"', f"must be {MAC_ALLOWED}"),
        ("match.mac = []", f"must be {MAC_ALLOWED}"),
        ('match.id = "i-0304feb62015b7959"', f"must be {ID_ALLOWED}"),
        ('match.id = ["eni-0304feb6", 1]', f"must be {ID_ALLOWED}"),
        ("match.card = 128", "must be a whole number from 0 to 127"),
        ("match.card = -1", "must be a whole number from 0 to 127"),
        ("match.card = false", "must be a whole number from 0 to 127"),
        ("match.device = 100", "must be a whole number from 0 to 99"),
        ('match.subnet = "10.0.16.1/20"', f"must be {CIDR_ALLOWED}"),
        ('match.subnet = "10.0.16.0"', f"must be {CIDR_ALLOWED}"),
        ('match.subnet = "fe80::%1/64"', f"must be {CIDR_ALLOWED}"),
        ("match.subnet = 167772160", f"must be {CIDR_ALLOWED}"),
        ('match.name = ""', f"must be {NAME_ALLOWED}"),
        ('match.name = "ens[5"', f"must be {NAME_ALLOWED}"),
        ('match.name = "[]"', f"must be {NAME_ALLOWED}"),
        ('match.name = "a/*"', f"must be {NAME_ALLOWED}"),
        ('match.name = "e *"', f"must be {NAME_ALLOWED}"),
        ('match.name = "sixteencharacter"', f"must be {NAME_ALLOWED}"),
        ('match.name = ["ens*", ".."]', f"must be {NAME_ALLOWED}"),
        ('match.role = "main"', 'must be "primary" or "secondary"'),
        ('match.attached = "hotplug"', 'must be "boot" or "later"'),
        ("match = 3", "must be a table, such as { card = 1 }"),
        ("match = []", "must be a table, such as { card = 1 }"),
    ],
)
def test_a_criterion_that_is_not_allowed_is_refused(text: str, message: str) -> None:
    sections = f"[[eni]]\nmatch.card = 0\n[[eni]]\n{text}\n"
    assert problems(sections) == [f"[[eni]] 2: {text}: {message}"]


@pytest.mark.parametrize("text", ["", "match = {}", "mtu = 1500"])
def test_a_section_that_matches_nothing_is_refused(text: str) -> None:
    assert problems(f"[[eni]]\n{text}") == [
        f"[[eni]] 1: match: must have at least one of {CRITERIA}"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'routnig = "strict"',
            (
                f'routnig = "strict": no such setting; allowed: {AT_THE_TOP}'
                ' (did you mean "routing"?)'
            ),
        ),
        (
            "[number]",
            (f'number = {{}}: no such setting; allowed: {AT_THE_TOP} (did you mean "numbers"?)'),
        ),
        (
            "zzz = 1",
            f"zzz = 1: no such setting; allowed: {AT_THE_TOP}",
        ),
        (
            "numbers.tabel_base = 1",
            (
                "numbers.tabel_base = 1: no such setting; allowed: link_group, mark_shift, metric_base,"
                ' priority_base, protocol, table_base (did you mean "numbers.table_base"?)'
            ),
        ),
        (
            "table_base = 1",
            (
                f"table_base = 1: no such setting; allowed: {AT_THE_TOP}"
                ' (did you mean "numbers.table_base"?)'
            ),
        ),
        (
            "[plugins]\nmtu = 1500",
            'plugins.mtu = 1500: no such setting; allowed: disabled, enabled (did you mean "mtu"?)',
        ),
        (
            "[links]\n[links.driver]\nx = 1",
            (
                "links.driver = {...}: no such setting; allowed: drivers"
                ' (did you mean "links.drivers"?)'
            ),
        ),
        (
            '[[eni]]\nmatch.card = 1\nmac = "x"',
            (
                f'[[eni]] 1: mac = "x": no such setting; allowed: {IN_A_SECTION}'
                ' (did you mean "match.mac"?)'
            ),
        ),
        (
            "[[eni]]\nmatch.card = 1\nmtuu = 1",
            (
                f"[[eni]] 1: mtuu = 1: no such setting; allowed: {IN_A_SECTION}"
                ' (did you mean "mtu"?)'
            ),
        ),
        (
            "[[eni]]\nmatch.cards = 1",
            (
                "[[eni]] 1: match.cards = 1: no such setting; allowed: attached, card, device, id, mac,"
                ' name, role, subnet (did you mean "match.card"?)'
            ),
        ),
        (
            '"a b\\n" = 1',
            f'"a b\\n" = 1: no such setting; allowed: {AT_THE_TOP}',
        ),
    ],
)
def test_an_unknown_key_is_refused(text: str, message: str) -> None:
    assert problems(text) == [message]


def test_all_problems_are_reported_and_valid_keys_are_kept() -> None:
    found: list[str] = []
    tree = tomllib.loads('mtu = 1\nbackend = "netlink"\nipv6 = 6\n[[eni]]\n[[eni]]\nmatch.card = 1')
    settings = read_tree(tree, lambda problem, _: found.append(problem.partition(":")[0]))
    assert found == ["mtu = 1", "ipv6 = 6", "[[eni]] 1"]
    assert settings.values == {"backend": "netlink"}
    assert len(settings.sections) == 1


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("mtu", (576, 65535)),
        ("main_default", (1, 4294967295)),
        ("numbers.table_base", (256, 4294954496)),
        ("numbers.priority_base", (2, 19962)),
        ("numbers.metric_base", (1, 4294954496)),
        ("numbers.protocol", (128, 185, 199, 254)),
        ("numbers.link_group", (1, 2147483647)),
        ("timeouts.pass", (1, 300)),
        ("timeouts.link", (0.1, 600)),
        ("timeouts.lock", (0.1, 300)),
        ("rollback.after", (0, 60)),
    ],
)
def test_the_ends_of_ranges_are_allowed(key: str, values: tuple[float, ...]) -> None:
    for value in values:
        assert problems(f"{key} = {value}") == []


def test_the_highest_numbers_fit_the_kernel() -> None:
    """The rule of card 127, device 99 precedes the last ones; its table and metric fit 32 bits."""
    assert LAST_PRIORITIES.start - 1 == 19962 + HIGHEST
    assert 4294954496 + HIGHEST == 2**32 - 1


def test_yes_is_not_a_valid_metric() -> None:
    assert from_dict({"main_default": "no"}).eni.main_default is MainDefault.NO
    assert from_dict({"main_default": 700}).eni.main_default == 700


def test_duplicates_in_a_list_count_once() -> None:
    assert from_dict({"links": {"drivers": ["ena", "vif", "ena"]}}).drivers == ("ena", "vif")


def test_from_dict_raises_the_first_problem() -> None:
    with pytest.raises(
        ConfigError, match=r"^ipv6 = 6: must be \"auto\", \"on\" or \"off\"$"
    ) as info:
        from_dict({"ipv6": 6, "mtu": 1})
    assert info.value.exit_status is ExitStatus.USAGE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 << 5000, "a 5001-bit number"),
        (-(2**63), "-9223372036854775808"),
        ("x" * 100, '"' + "x" * 57 + '..."'),
        ('a"\n\x1b\x7f', '"a\\"\\n\\u001b\\u007f"'),
        ([1] * 9, "[1, 1, 1, 1, 1, 1, 1, 1, ...]"),
        ([[1], {}], "[[...], {}]"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (None, "None"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_bounded_and_printable(value: Any, text: str) -> None:
    assert toml_value(value) == text


def test_keys_are_shown_bounded_and_printable() -> None:
    assert toml_key("k" * 99) == '"' + "k" * 57 + '..."'
    assert toml_key("a.b\x1b") == '"a.b\\u001b"'
    assert toml_key("a_b-C1") == "a_b-C1"
