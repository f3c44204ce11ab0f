# SPDX-License-Identifier: Apache-2.0
"""Two objects of ours that only differ in what their identity leaves out."""

from ipaddress import ip_address, ip_interface, ip_network

from ec2net.core.decide.compare import make_plan
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, LinkRef, Route
from ec2net.core.model.plan import Action, InPlace

MAC = Mac.parse("06:ec:02:00:00:01")
LINK = LinkRef(3, "ens6")


def test_what_a_killed_replacement_left_beside_the_new_is_removed() -> None:
    """IPv4 keeps 10.0.1.5/24 beside 10.0.1.5/32; one hid the other, and it stayed for good."""
    wanted, old = (Address(LINK, ip_interface(f"10.0.1.5/{length}")) for length in (24, 32))
    for ours in ((wanted, old), (old, wanted)):
        (change,) = make_plan({MAC: [wanted]}, InPlace(ours)).changes
        assert (change.action, change.item) == (Action.REMOVE, old)


def test_of_several_in_the_way_one_is_replaced_and_the_others_go() -> None:
    routes = [
        Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address(f"10.0.1.{n}")) for n in (1, 2, 3)
    ]
    replace, remove = make_plan({MAC: routes[:1]}, InPlace(tuple(routes[1:]))).changes
    assert (replace.action, replace.item, replace.before) == (Action.REPLACE, *routes[:2])
    assert (remove.action, remove.item) == (Action.REMOVE, routes[2])


def test_the_same_thing_seen_twice_is_one() -> None:
    address = Address(LINK, ip_interface("10.0.1.5/24"))
    assert not make_plan({MAC: [address]}, InPlace((address, address)))
