# SPDX-License-Identifier: Apache-2.0
"""Objects as requests: an encoded object decodes to itself, by the bytes that the kernel gets."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.kernel import decode, encode, policy_rules, pyroute
from ec2net.core.kernel import request as request_module
from ec2net.core.kernel.encode import Verb
from ec2net.core.kernel.request import Request, encoded
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    LinkRef,
    LinkSetting,
    Mark,
    NextHop,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Setting,
)

pytestmark = pytest.mark.library

ENS6 = LinkRef(3, "ens6")
NAMES = {3: "ens6"}


def read_back(request: Request) -> Any:
    message = pyroute.message_class(request.message)(encoded(request, 7))
    message.decode()
    return message


ENCAP = bytes.fromhex("0600150002000000100016800c0001000000000000000007")
"""RTA_ENCAP_TYPE "ip", RTA_ENCAP with LWTUNNEL_IP_ID 7."""
METRICS = bytes.fromhex("0c0008800800020078050000")
"""RTA_METRICS with an MTU of 1400."""

ROUTES = [
    Route(ip_network("0.0.0.0/0"), 10001, 0, ENS6, ip_address("10.0.1.1"), ip_address("10.0.1.4")),
    Route(ip_network("::/0"), MAIN_TABLE, 513, ENS6, ip_address("fe80:ec2::1")),
    Route(ip_network("10.0.1.0/24"), 10001, 0, ENS6, source=ip_address("10.0.1.4")),
    Route(ip_network("10.0.1.16/28"), 255, 0, ENS6, kind=RouteKind.LOCAL),
    Route(ip_network("2001:db8::/64"), 4294967295, 1024, ENS6),
    Route(ip_network("10.60.0.0/16"), 10001, 0, ENS6, ip_address("fe80::9")),
    Route(ip_network("10.60.0.0/16"), 10001, 0, ENS6, encap=ENCAP, further=METRICS),
    Route(
        ip_network("10.60.0.0/16"),
        10001,
        0,
        ENS6,
        hops=(
            NextHop(ENS6, ip_address("10.0.1.5"), 3),
            NextHop(ENS6, ip_address("fe80::9"), 1, ENCAP),
            NextHop(ENS6),
        ),
    ),
    Route(
        ip_network("2001:db8:9::/48"),
        10001,
        1024,
        ENS6,
        hops=(NextHop(ENS6, ip_address("fe80::9")), NextHop(ENS6, ip_address("fe80::8"), 256)),
    ),
]


@pytest.mark.parametrize("route", ROUTES, ids=Route.describe)
@pytest.mark.parametrize("verb", Verb)
def test_an_encoded_route_decodes_to_the_same_route(route: Route, verb: Verb) -> None:
    found = decode.route(read_back(encode.route(verb, route, 236)), NAMES)
    assert found is not None
    assert (found.item, found.protocol) == (route, 236)


def test_a_next_hop_object_is_named_alone() -> None:
    """The kernel refuses a link or a gateway in addition, and reports both."""
    route = Route(
        ip_network("10.60.0.0/16"), 10001, 0, ENS6, ip_address("10.0.1.5"), next_hop_object=7
    )
    message = read_back(encode.route(Verb.ADD, route, 236))
    assert message.get_attr("RTA_OIF") is message.get_attr("RTA_GATEWAY") is None
    found = decode.route(message, NAMES)
    assert found is not None
    assert found.item.next_hop_object == 7


@pytest.mark.parametrize(
    "rule",
    [
        Rule(ip_network("10.0.1.4/30"), 10001, 10001),
        Rule(ip_network("2001:db8::/80"), 9999, 254, 0, 236),
        Rule(ip_network("0.0.0.0/0"), 10001, 10001),
        Rule(ip_network("::/0"), 10001, 10001, mark=Mark(0x200000, 0xFFF00000)),
        Rule(ip_network("0.0.0.0/0"), 32764, 254, destination=ip_network("169.254.0.0/16")),
        Rule(ip_network("0.0.0.0/0"), 32765, 0, action=RuleAction.UNREACHABLE),
        Rule(ip_network("10.0.1.4/32"), 22800, 10001, action=RuleAction.GOTO, target=26926),
        Rule(ip_network("::/0"), 29999, 0, action=RuleAction.NOP),
    ],
    ids=Rule.describe,
)
@pytest.mark.parametrize("verb", Verb)
def test_an_encoded_rule_decodes_to_the_same_rule(rule: Rule, verb: Verb) -> None:
    """The mark is in a deletion too: the kernel then deletes no foreign rule."""
    found = policy_rules.modelled(encoded(encode.rule(verb, rule, 236), 7))
    assert found is not None
    assert (found.item, found.protocol) == (rule, 236)


@pytest.mark.parametrize(
    ("interface", "flags"), [("10.0.1.4/24", 0x200), ("2001:db8::4/128", 0x202)]
)
def test_an_address_has_no_prefix_route_and_no_duplicate_detection(
    interface: str, flags: int
) -> None:
    address = Address(ENS6, ip_interface(interface))
    request = encode.address(Verb.ADD, address, None)
    message = read_back(request)
    found = decode.address(encoded(request, 7), NAMES)
    assert found is not None
    assert (found.item, found.protocol) == (address, 0)
    assert message.get_attr("IFA_FLAGS") == flags


def test_an_address_is_marked_where_the_kernel_supports_marks() -> None:
    address = Address(ENS6, ip_interface("10.0.1.4/24"))
    assert ("IFA_PROTO", 236) in encode.address(Verb.ADD, address, 236).attributes


@pytest.mark.parametrize(
    ("destination", "kind", "scope"),
    [
        ("10.0.1.0/24", RouteKind.UNICAST, 253),
        ("10.0.1.16/28", RouteKind.LOCAL, 254),
        ("2001:db8::/64", RouteKind.UNICAST, 0),
    ],
)
def test_a_route_without_a_gateway_has_the_link_scope(
    destination: str, kind: RouteKind, scope: int
) -> None:
    route = Route(ip_network(destination), 10001, 0, ENS6, kind=kind)
    assert encode.route(Verb.ADD, route, 236).fields["scope"] == scope


def test_an_addition_fails_if_the_object_exists_and_a_replacement_does_not() -> None:
    route = ROUTES[0]
    create, exclusive, replace = 0x400, 0x200, 0x100
    assert encode.route(Verb.ADD, route, 236).flags & (create | exclusive) == create | exclusive
    flags = encode.route(Verb.REPLACE, route, 236).flags
    assert flags & (create | replace) == create | replace
    assert not encode.route(Verb.REMOVE, route, 236).flags & (create | exclusive | replace)


def test_settings_of_a_link_are_encoded() -> None:
    up = encode.link(Verb.REPLACE, LinkSetting(ENS6, Setting.UP, 1))
    assert up.fields == {"index": 3, "flags": 1, "change": 1}
    down = encode.link(Verb.REPLACE, LinkSetting(ENS6, Setting.UP, 0))
    assert down.fields == {"index": 3, "flags": 0, "change": 1}
    mtu = read_back(encode.link(Verb.REPLACE, LinkSetting(ENS6, Setting.MTU, 1500)))
    assert mtu.get_attr("IFLA_MTU") == 1500
    name = read_back(encode.link(Verb.ADD, LinkSetting(ENS6, Setting.ALTNAME, "eni-1")))
    assert name.get_attr("IFLA_PROP_LIST").get_attr("IFLA_ALT_IFNAME") == "eni-1"
    with pytest.raises(ValueError, match="accept_ra"):
        encode.link(Verb.REPLACE, LinkSetting(ENS6, Setting.ACCEPT_RA, 0))


HOSTS = st.one_of(
    st.builds(
        lambda n, bits: ip_interface((n, bits)), st.integers(0, 2**32 - 1), st.integers(1, 32)
    ),
    st.builds(
        lambda n, bits: ip_interface((n, bits)), st.integers(2**32, 2**128 - 1), st.integers(1, 128)
    ),
)
NUMBERS = st.integers(1, 2**32 - 1)
LINKS = st.integers(1, 2**31 - 1).map(lambda index: LinkRef(index, "ens6"))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any that a pass makes but for settings of links."""
    host, verb, protocol = draw(HOSTS), draw(st.sampled_from(Verb)), draw(st.integers(0, 255))
    match draw(st.sampled_from(["address", "route", "rule", "lookup"])):
        case "address":
            return encode.address(verb, Address(draw(LINKS), host), protocol)
        case "route":
            via = ip_address("10.0.1.1" if host.version == 4 else "fe80:ec2::1")
            gateway, source = (draw(st.sampled_from([None, one])) for one in (via, host.ip))
            kind = draw(st.sampled_from([RouteKind.UNICAST, RouteKind.LOCAL]))
            route = Route(
                host.network, draw(NUMBERS), draw(NUMBERS), draw(LINKS), gateway, source, kind
            )
            return encode.route(verb, route, protocol)
        case "rule":
            mark = draw(st.none() | st.builds(Mark, NUMBERS, NUMBERS))
            group, length = (draw(st.none() | st.integers(0, 2**31 - 1)) for _ in range(2))
            rule = Rule(
                host.network,
                draw(NUMBERS),
                draw(NUMBERS),
                suppress_prefixlength=length,
                suppress_group=group,
                mark=mark,
            )
            return encode.rule(verb, rule, protocol)
    return encode.lookup(host.ip, draw(st.sampled_from([None, host.ip])))


@given(st.lists(requests(), min_size=1, max_size=20), st.integers(1, 2**32 - 1))
def test_a_template_encodes_the_same_request_as_pyroute2(
    made: list[Request], sequence: int
) -> None:
    for one in made:
        assert encoded(one, sequence) == request_module._by_pyroute(one, sequence)


def test_the_number_of_templates_is_limited() -> None:
    for index in range(1, 3 * request_module._SHAPES):
        encoded(
            encode.address(Verb.ADD, Address(LinkRef(index, "x"), ip_interface("10.0.0.1/32")), 1),
            1,
        )
    assert len(request_module._templates) <= request_module._SHAPES
