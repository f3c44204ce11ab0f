# SPDX-License-Identifier: Apache-2.0
"""Which changes wait for an ENI's first address."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from eni_facts import mac

from ec2net.backends.networkd.lease import Lease, held_until
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LinkRef, LinkSetting, Route, Rule, Setting
from ec2net.core.model.plan import Action, Change, Item

ENS6, FIRST = LinkRef(3, "ens6"), ip_address("10.0.1.4")
FURTHER = Address(ENS6, ip_interface("10.0.1.9/32"))
ROUTE = Route(ip_network("10.0.1.0/24"), 10001, 0, ENS6)
PREFERRING = Route(ip_network("10.0.1.0/24"), 10001, 0, ENS6, source=FIRST)
RULE = Rule(ip_network("10.0.1.9/32"), 10001, 10001)
IPV6 = Address(ENS6, ip_interface("2001:db8::9/128"))
MTU = LinkSetting(ENS6, Setting.MTU, 1500)
LEASED, BROUGHT = Lease(ENS6, FIRST, ours=True), Lease(ENS6, FIRST, ours=False)


def change(item: Item, action: Action = Action.ADD, whose: Mac | None = None) -> Change:
    return Change(action, item, whose or mac(1))


GONE = (change(RULE, Action.REMOVE), change(ROUTE, Action.REMOVE))


@pytest.mark.parametrize(
    ("lease", "changes", "held"),
    [
        pytest.param(LEASED, (change(FURTHER), change(ROUTE)), {0, 1}, id="addresses and routes"),
        pytest.param(LEASED, (change(RULE), change(MTU), change(FURTHER)), {2}, id="not a rule"),
        pytest.param(LEASED, (change(IPV6), change(FURTHER)), {1}, id="not IPv6"),
        pytest.param(LEASED, (change(FURTHER), *GONE), {0, 1, 2}, id="removals come last"),
        pytest.param(LEASED, GONE, set(), id="removals alone wait for nothing"),
        pytest.param(LEASED, (change(RULE), *GONE), set(), id="nor do they with a rule"),
        pytest.param(BROUGHT, (change(FURTHER), change(ROUTE)), set(), id="another's to bring"),
        pytest.param(BROUGHT, (change(FURTHER), change(PREFERRING)), {0, 1}, id="and preferred"),
        pytest.param(Lease(ENS6, None, ours=True), (change(FURTHER),), set(), id="no IPv4"),
    ],
)
def test_ipv4_changes_wait_for_the_first_address(
    lease: Lease, changes: tuple[Change, ...], held: set[int]
) -> None:
    """A rule is added at once: without it an ENI's replies leave through another ENI."""
    another = change(FURTHER, whose=mac(2))
    found = held_until({mac(1): lease}, (*changes, another))
    assert found == ({mac(1): [changes[n] for n in sorted(held)]} if held else {})
