# SPDX-License-Identifier: Apache-2.0
"""``doctor``'s findings about sysctls."""

from ipaddress import ip_network
from typing import Any

import pytest
from doctor_host import (
    HOST,
    NOTE,
    WARNING,
    intents,
    told,
)
from eni_facts import IPV4_ONLY, eni
from eni_facts import host as facts

from ec2net.core.config.settings import Config, Routing
from ec2net.core.decide.compute import compute
from ec2net.core.doctor import sysctls
from ec2net.core.doctor.finding import Check
from ec2net.core.doctor.sysctls import LinkSysctls, Sysctls


def rp_filter(every: int, second: int, **values: Any) -> Sysctls:
    return Sysctls(every, links={3: LinkSysctls(rp_filter=second)}, **values)


STRICT_FILTER = [(WARNING, Check.RP_FILTER, "ens6")]


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({}, rp_filter(0, 1), STRICT_FILTER),
        ({}, rp_filter(1, 0), STRICT_FILTER),  # the larger value counts
        ({}, rp_filter(1, 2), []),
        ({}, rp_filter(2, 1), []),
        ({}, rp_filter(0, 0), []),
        ({}, Sysctls(), []),
        ({"routing": Routing.STRICT}, rp_filter(0, 1), []),
        ({"routing": Routing.STRICT}, rp_filter(0, 1, ipv4_forwarding=1), STRICT_FILTER),
        ({"routing": Routing.OFF}, rp_filter(0, 1), STRICT_FILTER),
    ],
)
def test_a_strict_filter_matters_where_answers_may_take_another_link(
    settings: dict[str, Any], values: Sysctls, expected: object
) -> None:
    assert told(sysctls.strict_filters(intents(**settings), values)) == expected


def test_the_strict_sysctl_is_named() -> None:
    (found,) = sysctls.strict_filters(HOST, rp_filter(1, 0))
    assert found.cause.startswith("net.ipv4.conf.all.rp_filter is 1 (strict)")
    assert "net.ipv4.conf.ens6.rp_filter=2" in found.remedy


def test_a_strict_filter_does_not_matter_without_ipv4() -> None:
    host = compute(facts(eni(0), eni(1, local_ipv4s=eni(1).ipv4_prefixes)), Config())
    assert list(sysctls.strict_filters(host, rp_filter(0, 1))) == []


@pytest.mark.parametrize(
    ("forwarding", "accept_ra", "lost"),
    [(1, 1, True), (1, 2, False), (1, 0, False), (0, 1, False), (None, None, False)],
)
def test_a_router_that_ignores_advertisements_is_reported(
    forwarding: int | None, accept_ra: int | None, lost: bool
) -> None:
    values = LinkSysctls(ipv6_forwarding=forwarding, accept_ra=accept_ra)
    found = told(sysctls.lost_advertisements(HOST, Sysctls(links={2: values})))
    assert found == ([(WARNING, Check.FORWARDING, "ens5")] if lost else [])


@pytest.mark.parametrize(
    ("forwarding", "settings", "lost"),
    [
        (1, {}, True),
        (0, {}, False),
        (None, {}, False),
        (1, {"published_ports": True}, False),
        (1, {"routing": Routing.OFF}, False),  # foreign rules
    ],
)
def test_answers_of_published_ports_are_checked(
    forwarding: int | None, settings: dict[str, Any], lost: bool
) -> None:
    """The sysctl of a secondary; the primary answers what arrives on it."""
    found = told(sysctls.lost_answers(intents(**settings), Sysctls(ipv4_forwarding=forwarding)))
    assert found == ([(NOTE, Check.PUBLISHED_PORTS, "ens6")] if lost else [])


def test_advertisements_do_not_matter_without_ipv6() -> None:
    host = compute(facts(eni(0, **IPV4_ONLY), eni(1)), Config())
    values = Sysctls(links={2: LinkSysctls(ipv6_forwarding=1, accept_ra=1)})
    assert list(sysctls.lost_advertisements(host, values)) == []


@pytest.mark.parametrize(
    ("network", "values", "reported"),
    [
        ("10.0.1.0/28", Sysctls(ipv4_forwarding=0), "net.ipv4.ip_forward=1"),
        ("10.0.1.0/28", Sysctls(ipv4_forwarding=1, ipv6_forwarding=0), ""),
        ("2001:db8::/80", Sysctls(ipv6_forwarding=0), "net.ipv6.conf.all.forwarding=1"),
        ("10.0.1.0/28", Sysctls(), ""),
    ],
)
def test_a_network_behind_a_bridge_needs_forwarding(
    network: str, values: Sysctls, reported: str
) -> None:
    found = list(sysctls.no_forwarding([(ip_network(network), "br0")], values))
    assert told(found) == ([(WARNING, Check.FORWARDING, "br0")] if reported else [])
    assert all(reported in one.remedy for one in found)
