# SPDX-License-Identifier: Apache-2.0
"""ENI facts for tests: a plain ENI as a start, and random ENIs of every kind for hypothesis.

Random facts contain any values that ``imds.parse`` accepts: well-formed, but not plausible.
"""

from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ec2net.core.config.settings import (
    Altname,
    Config,
    EniSettings,
    Ipv6Policy,
    MainDefault,
    MainTable,
    Manage,
    MtuPolicy,
    PrefixMode,
    PrimaryRules,
    Routing,
)
from ec2net.core.model.facts import (
    Absent,
    EniFacts,
    Facts,
    ImdsFacts,
    Link,
    Reading,
    Unknown,
    Value,
)
from ec2net.core.model.identity import EniId, Mac

KEYS = tuple(f.name for f in fields(EniFacts) if f.name != "mac")
TIMEOUT = Unknown("timed out")


def mac(n: int) -> Mac:
    return Mac(f"06:ec:02:00:00:{n:02x}")


PRIMARY = mac(0)


def ipv4(*texts: str) -> Value[tuple[IPv4Address, ...]]:
    return Value(tuple(map(IPv4Address, texts)))


def ipv6(*texts: str) -> Value[tuple[IPv6Address, ...]]:
    return Value(tuple(map(IPv6Address, texts)))


def prefixes4(*texts: str) -> Value[tuple[IPv4Network, ...]]:
    return Value(tuple(map(IPv4Network, texts)))


def prefixes6(*texts: str) -> Value[tuple[IPv6Network, ...]]:
    return Value(tuple(map(IPv6Network, texts)))


def eni(n: int, **readings: Any) -> EniFacts:
    """ENI ``n`` in its own subnet, dual-stack, with two addresses of each family.

    The ENI is device ``n`` of card 0; ENI 0 is the primary.
    """
    plain = EniFacts(
        mac=mac(n),
        interface_id=Value(EniId(f"eni-{n:017x}")),
        device_number=Value(n),
        network_card=Absent(),
        local_ipv4s=ipv4(f"10.0.{n}.4", f"10.0.{n}.9"),
        ipv6s=ipv6(f"2001:db8:0:{n:x}::4", f"2001:db8:0:{n:x}::9"),
        ipv4_prefixes=Absent(),
        ipv6_prefixes=Absent(),
        subnet_ipv4=Value(IPv4Network(f"10.0.{n}.0/24")),
        subnet_ipv6=prefixes6(f"2001:db8:0:{n:x}::/64"),
    )
    return replace(plain, **readings)


IPV4_ONLY: dict[str, Reading[Any]] = {"ipv6s": Absent(), "subnet_ipv6": Absent()}
IPV6_ONLY: dict[str, Reading[Any]] = {"local_ipv4s": Absent(), "subnet_ipv4": Absent()}
EFA_ONLY: dict[str, Reading[Any]] = {"local_ipv4s": Absent(), "ipv6s": Absent()}


def link(n: int, **values: Any) -> Link:
    """The link of ENI ``n``: ``ens5`` for the primary, ``ens6`` for the next."""
    plain = Link(
        index=n + 2,
        name=f"ens{n + 5}",
        mac=mac(n),
        driver="ena",
        kind="",
        mtu=9001,
        up=True,
        group=0,
    )
    return replace(plain, **values)


def host(*enis: EniFacts, **changes: Any) -> Facts:
    """A host with these ENIs and a link for each. ``changes``: primary, listed, links."""
    found = {int(eni.mac.text[-2:], 16) for eni in enis}
    return Facts(
        ImdsFacts(
            changes.get("primary", Value(PRIMARY)),
            changes.get("listed", Value(tuple(eni.mac for eni in enis))),
            enis,
        ),
        changes.get("links", tuple(link(n) for n in sorted(found))),
    )


def readings(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Mostly a value."""
    return st.one_of(values.map(Value), values.map(Value), st.just(Absent()), st.just(TIMEOUT))


def _usable(address: IPv4Address | IPv6Address) -> bool:
    return not (address.is_unspecified or address.is_multicast or address.is_loopback)


def _networks(version: int) -> SearchStrategy[Any]:
    """Any length but 0, as ``imds.parse`` has it."""
    bits, kind = (32, IPv4Network) if version == 4 else (128, IPv6Network)
    return (
        st.builds(
            lambda number, length: kind((number >> bits - length << bits - length, length)),
            st.integers(0, 2**bits - 1),
            st.integers(1, bits),
        )
    ).filter(lambda network: _usable(network.network_address))


_IPV4_SUBNETS = [
    IPv4Network(text)
    for text in ("10.0.1.0/24", "10.0.0.0/16", "10.0.2.0/28", "10.0.1.4/32", "10.0.1.4/31")
]
_IPV6_SUBNETS = [IPv6Network(text) for text in ("2001:db8:0:1::/64", "2001:db8::/56")]
_IPV4_PREFIXES = [IPv4Network(text) for text in ("10.0.1.16/28", "10.0.2.0/28", "10.0.1.0/24")]
_IPV6_PREFIXES = [IPv6Network(f"2001:db8:0:1:{n:x}::/80") for n in range(3)]

ipv4_addresses = st.one_of(
    st.sampled_from([IPv4Address(f"10.0.{s}.{h}") for s in (1, 2) for h in (0, 1, 4, 5, 6, 7, 20)]),
    st.ip_addresses(v=4).filter(_usable),
)
ipv6_addresses = st.one_of(
    st.sampled_from([IPv6Address(f"2001:db8:0:1::{h:x}") for h in range(8)]),
    st.ip_addresses(v=6).filter(_usable),
)
ipv4_networks = st.one_of(st.sampled_from(_IPV4_SUBNETS + _IPV4_PREFIXES), _networks(4))
ipv6_networks = st.one_of(st.sampled_from(_IPV6_SUBNETS + _IPV6_PREFIXES), _networks(6))


def _several(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=5, unique=True).map(tuple)


_ANYTHING: dict[str, SearchStrategy[Any]] = {
    "interface_id": st.integers(0, 20).map(lambda n: EniId(f"eni-{n:08x}")),
    "device_number": st.integers(0, 3) | st.integers(0, 999),
    "network_card": st.integers(0, 2) | st.integers(0, 999),
    "local_ipv4s": _several(ipv4_addresses),
    "ipv6s": _several(ipv6_addresses),
    "ipv4_prefixes": _several(ipv4_networks),
    "ipv6_prefixes": _several(ipv6_networks),
    "subnet_ipv4": ipv4_networks,
    "subnet_ipv6": _several(ipv6_networks),
}

garbage_readings = {name: readings(values) for name, values in _ANYTHING.items()}
"""For each key an absent, unknown or known value."""


def garbage(n: int) -> SearchStrategy[EniFacts]:
    """ENI ``n`` with nothing in it that fits together."""
    return st.fixed_dictionaries(garbage_readings).map(lambda keys: EniFacts(mac(n), **keys))


@st.composite
def plausible(draw: st.DrawFn, n: int) -> EniFacts:
    """ENI ``n`` as EC2 might have it: one or both families, cards, prefixes, in its own subnet."""
    families = draw(st.sampled_from([{}, {}, IPV4_ONLY, IPV6_ONLY, EFA_ONLY]))
    hosts = draw(st.lists(st.integers(4, 127), min_size=1, max_size=9, unique=True))
    keys: dict[str, Any] = {
        "network_card": draw(st.sampled_from([Absent(), Value(0), Value(1), Value(2)])),
        "local_ipv4s": ipv4(*(f"10.0.{n}.{h}" for h in hosts)),
        "ipv6s": ipv6(*(f"2001:db8:0:{n:x}::{h:x}" for h in hosts)),
    }
    if draw(st.booleans()) and families is not IPV6_ONLY:
        keys["ipv4_prefixes"] = prefixes4(f"10.0.{n}.224/28", f"10.0.{n}.240/28")
    if draw(st.booleans()) and families is not IPV4_ONLY:
        keys["ipv6_prefixes"] = prefixes6(f"2001:db8:0:{n:x}:1::/80")
    return eni(n, **{**keys, **families})


@st.composite
def flawed(draw: st.DrawFn, n: int) -> EniFacts:
    """A plausible ENI of which some keys read as anything."""
    wrong = draw(st.sets(st.sampled_from(KEYS), max_size=3))
    return replace(
        draw(plausible(n)), **{key: draw(garbage_readings[key]) for key in sorted(wrong)}
    )


@st.composite
def squeezed(draw: st.DrawFn, n: int) -> EniFacts:
    """An ENI of one address, in a subnet of any size around it."""
    address = draw(ipv4_addresses)
    subnet = IPv4Network((address, draw(st.integers(1, 32))), strict=False)
    prefixes: Any = draw(
        st.sampled_from([Absent(), Value((subnet,)), Value((IPv4Network(address),))])
    )
    return eni(
        n,
        local_ipv4s=Value((address,)),
        subnet_ipv4=Value(subnet),
        ipv4_prefixes=prefixes,
        **draw(st.sampled_from([{}, IPV4_ONLY])),
    )


def any_eni(n: int) -> SearchStrategy[EniFacts]:
    return st.one_of(plausible(n), plausible(n), flawed(n), flawed(n), squeezed(n), garbage(n))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Up to six ENIs, each as anything; links that are missing, doubled, foreign or without MAC."""
    numbers = draw(st.sets(st.integers(0, 5), max_size=6))
    enis = tuple(draw(any_eni(n)) for n in sorted(numbers))
    links = []
    for n in draw(st.sets(st.integers(0, 7), max_size=8)) | (
        numbers if draw(st.booleans()) else set()
    ):
        links.append(link(n))
        if draw(st.integers(0, 9)) == 0:  # a VLAN on the ENI, or a second card with its MAC
            twin = draw(st.sampled_from(["", "ena"]))
            links.append(link(n, index=n + 100, name=f"twin{n}", driver=twin, kind="vlan"))
    links.append(Link(1, "lo", None, "", "", 65536, True, 0))
    return Facts(
        ImdsFacts(
            draw(readings(st.integers(0, 7).map(mac)) | st.just(Value(PRIMARY))),
            draw(readings(st.lists(st.integers(0, 9).map(mac), unique=True).map(tuple))),
            enis,
        ),
        tuple(draw(st.permutations(links))),
    )


settings_of_an_eni = st.builds(
    EniSettings,
    manage=st.sampled_from(Manage),
    routing=st.sampled_from(Routing),
    primary_rules=st.sampled_from((*PrimaryRules, True, False)),
    published_ports=st.booleans(),
    ipv4_fast_failure=st.booleans(),
    mtu=st.sampled_from(MtuPolicy) | st.integers(576, 65535),
    ipv4_prefix_mode=st.sampled_from(PrefixMode),
    ipv6_prefix_mode=st.sampled_from(PrefixMode),
    main_default=st.sampled_from(MainDefault) | st.integers(1, 2**32 - 1),
    main_table=st.sampled_from(MainTable),
    ipv6=st.sampled_from(Ipv6Policy),
    altnames=st.lists(st.sampled_from(Altname), unique=True).map(tuple),
)

configs = st.just(Config()) | settings_of_an_eni.map(lambda settings: Config(eni=settings))
