# SPDX-License-Identifier: Apache-2.0
"""Hosts and main tables by the habits of real tools, for hypothesis; all of it as lines of ``ip``."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

BRIDGES = (
    "link add br0 type bridge",
    "link set br0 up",
    "link add wg0 type bridge",
    "link set wg0 up",
    "addr add 172.17.0.1/32 dev br0",
    "route add 0.0.0.0/0 dev wg0 table 77",
    "route add ::/0 dev wg0 table 77",
)
"""Stand-ins for a container bridge and a tunnel, and a table of the tunnel; they are always there."""

MARK = 7
"""The mark of packets that a rule may lead to the tunnel."""

_OF_ENIS = (
    "route add 10.6{n}.0.0/16 via 10.0.{n}.1 dev ens{l} onlink",
    "route add 10.7{n}.0.0/16 via 10.0.{n}.2 dev ens{l} onlink metric 300",
    "route add 10.7{n}.0.0/16 via 10.0.{n}.3 dev ens{l} onlink mtu 1400",
    "route add 10.7{n}.0.0/24 via inet6 fe80::78 dev ens{l}",
    "route add 198.51.100.1{n}/32 via 10.0.{n}.3 dev ens{l} onlink",
    "route add 2001:db8:6{n}::/48 via fe80::77 dev ens{l}",
    "route add 2001:db8:6{n}::/48 via fe80::78 dev ens{l} metric 100",
    "route add 10.0.{n}.0/24 dev ens{l} metric 1024 proto dhcp",
    "route add 10.0.{n}.0/24 dev ens{l} metric 100 proto kernel",
    "route add 10.0.{n}.0/24 dev ens{l} proto kernel scope link",
    "route add 2001:db8:0:{n}::/64 dev ens{l} metric 256",
    "route add 2001:db8:0:{n}::/64 dev ens{l} metric 1024 proto ra",
    "route add 10.0.{n}.128/25 dev br0",
    "route add 2001:db8:0:{n}:8000::/65 dev br0",
    "route add 169.254.0.0/16 dev ens{l} scope link metric 1003",
    "route add 10.84.0.0/16 nexthop via 10.0.1.2 dev ens5 nexthop via 10.0.{n}.2 dev ens{l} onlink",
    "route add 10.85.0.0/16 nexthop dev ens{l} weight 3 nexthop via 10.0.{n}.3 dev ens{l} onlink",
    "route add 2001:db8:84::/48 nexthop via fe80::5 dev ens5 nexthop via fe80::6 dev ens{l}",
    "nexthop add id {l} via 10.0.{n}.4 dev ens{l} onlink\nroute add 10.86.0.0/16 nhid {l}",
    "nexthop add id 1{l} via fe80::4 dev ens{l}\nroute add 2001:db8:86::/48 nhid 1{l}",
    "route add 0.0.0.0/0 via 10.0.{n}.1 dev ens{l} onlink metric 2048",
    "route add ::/0 via fe80::7 dev ens{l} metric 2048",
)
_OF_HOST = (
    "route add 172.17.0.0/16 dev br0",
    "route add 10.80.0.0/16 dev wg0",
    "route add 10.61.0.0/16 dev wg0 metric 50",
    "route add 2001:db8:80::/48 dev wg0",
    "route add 2001:db8:61::/48 dev wg0 metric 50",
    "route add default dev wg0 metric 50",
    "route add 0.0.0.0/1 dev wg0",
    "route add 10.0.0.0/9 dev wg0",
    "route add ::/0 dev wg0 metric 50",
    "route add ::/1 dev wg0",
    "route add 2001:db8::/33 dev wg0",
    "route add blackhole 10.81.0.0/16",
    "route add blackhole default metric 5",
    "route add unreachable default metric 4000",
    "route add blackhole 2001:db8:81::/48",
    "route add prohibit ::/0 metric 5",
    "route add 10.82.0.0/16 nexthop via 10.0.1.2 dev ens5 nexthop via 10.0.1.3 dev ens5",
    f"rule add from all fwmark {MARK} lookup 77",
    f"-6 rule add from all fwmark {MARK} lookup 77",
    f"rule add from all fwmark {MARK} lookup 77 priority 100",
    "rule add from all to 10.83.0.0/16 lookup 77",
    "rule add from all to 10.83.0.0/16 lookup 77 priority 200",
)

DESTINATIONS = (
    *(f"10.0.{n}.{host}" for n in (1, 2, 3) for host in (3, 200)),
    *(f"10.{tens}{n}.0.9" for tens in (6, 7) for n in (1, 2, 3)),
    *(f"198.51.100.1{n}" for n in (1, 2, 3)),
    *("172.17.0.9", "203.0.113.9", "169.254.169.254"),
    *(f"10.8{n}.0.9" for n in range(7)),
    *(f"2001:db8:0:{n}::3" for n in (1, 2, 3)),
    *(f"2001:db8:0:{n}:8000::3" for n in (1, 2, 3)),
    *(f"2001:db8:6{n}::9" for n in (1, 2, 3)),
    *("2001:db8:80::9", "2001:db8:81::9", "2001:db8:84::9", "2001:db8:86::9"),
    *("2001:db8:ffff::9", "fd00:ec2::254"),
)
OUTSIDE = ("203.0.113.9", "2001:db8:ffff::9")
"""Destinations that only default routes, and halves of everything, lead to."""


_IPV6 = "-6 "


@dataclass(frozen=True, slots=True)
class Habits:
    """``secondaries``: by ENI the number of its subnet and its card; ``habits`` make the main table."""

    secondaries: tuple[tuple[int, int], ...]
    habits: tuple[str, ...]

    @property
    def lines(self) -> Iterator[str]:
        return (line for habit in self.habits for line in habit.splitlines())

    def of(self, version: int) -> Iterator[str]:
        """The lines for ``ip -4`` (also those of both versions) or ``ip -6``."""
        for line in self.lines:
            of_ipv6 = line.startswith(_IPV6)
            if of_ipv6 == (version == 6):
                yield line.removeprefix(_IPV6)


@st.composite
def habits(draw: st.DrawFn) -> Habits:
    """One to five ENIs, in subnets of their own or shared, also the primary's, on two cards."""
    places = st.tuples(st.integers(1, 3), st.integers(0, 1))
    secondaries = tuple(draw(st.lists(places, max_size=4)))
    enis = [(1, 5), *((n, 6 + place) for place, (n, _) in enumerate(secondaries))]
    possible = [line.format(n=n, l=link) for n, link in enis for line in _OF_ENIS]
    chosen = draw(st.lists(st.sampled_from([*possible, *_OF_HOST]), unique=True, max_size=8))
    return Habits(secondaries, tuple(chosen))
