# SPDX-License-Identifier: Apache-2.0
"""Hosts and main tables by the habits of real tools, for hypothesis; all of it as lines of ``ip``."""

from dataclasses import dataclass

from hypothesis import strategies as st

BRIDGES = (
    "link add br0 type bridge",
    "link set br0 up",
    "link add wg0 type bridge",
    "link set wg0 up",
)
"""Stand-ins for a container bridge and a tunnel; every host has them."""

_OF_ENIS = (
    "route add 10.6{n}.0.0/16 via 10.0.{n}.1 dev ens{l} onlink",
    "route add 10.7{n}.0.0/16 via 10.0.{n}.2 dev ens{l} onlink metric 300",
    "route add 198.51.100.1{n}/32 via 10.0.{n}.3 dev ens{l} onlink",
    "route add 2001:db8:6{n}::/48 via fe80::77 dev ens{l}",
    "route add 10.0.{n}.0/24 dev ens{l} metric 1024 proto dhcp",
    "route add 10.0.{n}.0/24 dev ens{l} metric 100 proto kernel",
    "route add 10.0.{n}.0/24 dev ens{l} proto kernel scope link",
    "route add 2001:db8:0:{n}::/64 dev ens{l} metric 256",
    "route add 10.0.{n}.128/25 dev br0",
    "route add 169.254.0.0/16 dev ens{l} scope link metric 1003",
)
_OF_HOST = (
    "route add 172.17.0.0/16 dev br0",
    "route add 10.80.0.0/16 dev wg0",
    "route add 10.61.0.0/16 dev wg0 metric 50",
    "route add 2001:db8:80::/48 dev wg0",
    "route add default dev wg0 metric 50",
    "route add 0.0.0.0/1 dev wg0",
    "route add 10.0.0.0/9 dev wg0",
    "route add blackhole 10.81.0.0/16",
    "route add blackhole default metric 5",
    "route add unreachable default metric 4000",
    "route add 10.82.0.0/16 nexthop via 10.0.1.2 dev ens5 nexthop via 10.0.1.3 dev ens5",
    "rule add from all fwmark 7 lookup 77",
    "rule add from all to 10.83.0.0/16 lookup 77",
)

DESTINATIONS = (
    *(f"10.0.{n}.{host}" for n in (1, 2, 3) for host in (3, 200)),
    *(f"10.{tens}{n}.0.9" for tens in (6, 7) for n in (1, 2, 3)),
    *(f"198.51.100.1{n}" for n in (1, 2, 3)),
    *("172.17.0.9", "10.80.0.9", "10.81.0.9", "10.82.0.9", "203.0.113.9", "169.254.169.254"),
    *(f"2001:db8:0:{n}::3" for n in (1, 2, 3)),
    *(f"2001:db8:6{n}::9" for n in (1, 2, 3)),
    *("2001:db8:80::9", "2001:db8:ffff::9", "fd00:ec2::254"),
)


@dataclass(frozen=True, slots=True)
class Habits:
    """``secondaries``: by ENI the number of its subnet; ``lines`` make the main table."""

    secondaries: tuple[int, ...]
    lines: tuple[str, ...]


@st.composite
def habits(draw: st.DrawFn) -> Habits:
    """One to three ENIs, each in a new subnet or in a shared one, also the primary's."""
    secondaries = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    enis = [(1, 5), *((n, 6 + place) for place, n in enumerate(secondaries))]
    possible = [line.format(n=n, l=link) for n, link in enis for line in _OF_ENIS]
    chosen = draw(st.lists(st.sampled_from([*possible, *_OF_HOST]), unique=True, max_size=6))
    return Habits(secondaries, tuple(chosen))
