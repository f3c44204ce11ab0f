# SPDX-License-Identifier: Apache-2.0
"""The simulated VPC: namespaces for the router, one guest, the outside and peers."""

import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from ec2net.core.model.errors import KernelError, UsageError
from ec2net.core.model.identity import EniId, Mac, parse_link_name
from ec2net.core.simulation.vpc import hosts, imds_tree, mapping
from ec2net.core.simulation.vpc.checks import Checks
from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.eni import Detach, Eni, Presence
from ec2net.core.simulation.vpc.hosts import Host
from ec2net.core.simulation.vpc.imds import ImdsDouble, Propagation
from ec2net.core.simulation.vpc.imds_faults import Fault, OnlyFrom
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.source_check import Drop, Network, SourceCheck
from ec2net.core.simulation.vpc.subnet import Subnet

DHCP_METRIC = 512
"""The metric that ec2net and Amazon Linux give the primary ENI's default route in main."""

SEED = 14
"""The seed of the random addresses that a VPC hands out, unless another one is given."""

DEFAULT_IPV4 = IPv4Network("10.0.0.0/16")
DEFAULT_IPV6 = IPv6Network("2001:db8::/56")

_ROUTER_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # A VPC sends no redirects, though a peer's packets leave where they came in.
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}

_NO_DAD = {
    # The kernel skips the random delay of up to 1 s only if both are off.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}

_HOST_SYSCTLS = {
    # As systemd's 50-default.conf sets it on every host.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "2",
}

_IMDS_PORT = 80


class DuplicateDetection(Enum):
    """Duplicate address detection in the guest (RFC 4862)."""

    OFF = "off"
    """As Amazon Linux ships it for ENIs; a VPC has no duplicates. Saves up to 2 s."""
    KERNEL = "kernel"
    """As the kernel has it by default."""


class SimulatedVpc(Checks):
    """One VPC with one instance (``guest``), as a context manager. See :mod:`ec2net.core.simulation.vpc`.

    Enter a sandbox first (:func:`ec2net.core.simulation.vpc.sandbox.enter`), or give ``prefix``: it
    goes before the names of all namespaces. ``cards`` above 1 makes IMDS tell network
    cards. Addresses and prefixes are random, as EC2's are, and the same for the same ``seed``; None:
    neighbours, from the fifth address on, for what names addresses. Neighbours collapse into few rules,
    which hides what a host costs.
    """

    instance_id = "i-0ec2000000000000d"

    def __init__(
        self,
        *,
        prefix: str = "",
        cards: int = 1,
        ipv4: IPv4Network = DEFAULT_IPV4,
        ipv6: IPv6Network = DEFAULT_IPV6,
        duplicate_detection: DuplicateDetection = DuplicateDetection.OFF,
        seed: int | None = SEED,
    ) -> None:
        self.prefix = prefix
        self.cards = cards
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.duplicate_detection = duplicate_detection
        self._chance = None if seed is None else random.Random(seed)
        self.subnets: list[Subnet] = []
        self.enis: list[Eni] = []
        self.peers: list[Host] = []
        self._stack = ExitStack()
        self._made = 0
        self._plugged: set[Eni] = set()
        self._registered: set[Eni] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        self.router = self.namespace("vpc")
        self.guest = self.namespace("guest")
        outside = self.namespace("outside")
        self.router.sysctl({**_ROUTER_SYSCTLS, **_NO_DAD})
        outside.sysctl(_NO_DAD)
        self.guest.sysctl(_HOST_SYSCTLS)
        if self.duplicate_detection is DuplicateDetection.OFF:
            self.guest.sysctl(_NO_DAD)
        self.router.ip(mapping.router_lines())
        self.source_check = SourceCheck(self.router)
        self.outside = hosts.join_outside(self.router, outside)
        self._echo = EchoService()
        self._stack.callback(self._echo.close)
        for namespace in (self.router, self.guest, outside):
            self._echo.listen(namespace)
        self.imds = self._stack.enter_context(ImdsDouble())
        self.imds.serve(self.router.call(_imds_listeners))

    def namespace(self, name: str) -> Namespace:
        """A further namespace, removed with the VPC."""
        namespace = Namespace.create(f"{self.prefix}{name}")
        self._stack.callback(_delete, namespace)
        return namespace

    def add_subnet(self, ipv4: str | None = None, ipv6: str | None = None) -> Subnet:
        """A subnet with one family or both; ``ValueError`` for what is not a CIDR."""
        if ipv4 is None and ipv6 is None:
            raise UsageError("a subnet needs a CIDR")
        number = len(self.subnets) + 1
        subnet = Subnet(
            subnet_id=f"subnet-{number:017x}",
            bridge=f"subnet{number}",
            gateway_mac=hosts.gateway_mac(number),
            ipv4=None if ipv4 is None else IPv4Network(ipv4),
            ipv6=None if ipv6 is None else IPv6Network(ipv6),
            chance=self._chance,
        )
        self.router.ip(mapping.bridge_lines(subnet))
        self.subnets.append(subnet)
        return subnet

    def add_peer(self, subnet: Subnet) -> Host:
        """A plain host in a subnet, with one address of each of its families."""
        number = len(self.peers) + 1
        host = Host(
            self.namespace(f"peer{number}"),
            None if subnet.ipv4 is None else subnet.allot_ipv4(),
            None if subnet.ipv6 is None else subnet.allot_ipv6(),
        )
        mac, port = hosts.peer_mac(number), f"to-peer{number}"
        # Configured by hand, whatever a router advertises.
        host.namespace.sysctl({**_NO_DAD, "net/ipv6/conf/default/accept_ra": "0"})
        self.source_check.guard(port, host.holds())
        lines = mapping.port_lines(
            subnet, port, namespace=host.namespace.name, name="eth0", mac=mac
        )
        holds = [network.network_address for network in host.holds()]
        self.router.ip([*mapping.neighbour_lines(subnet, mac, holds), *lines])
        self.router.bridge([mapping.forwarding_line(port, mac)])
        host.namespace.ip(hosts.peer_lines(subnet, host))
        self._echo.listen(host.namespace)
        self.peers.append(host)
        return host

    def attach(
        self,
        subnet: Subnet,
        name: str | None = None,
        *,
        device: int | None = None,
        card: int = 0,
        ipv4: int | None = None,
        ipv6: int | None = None,
        ipv4_prefixes: int = 0,
        ipv6_prefixes: int = 0,
        mac: str | None = None,
        eni_id: str | None = None,
        presence: Presence = Presence.LINK_AND_IMDS,
        propagation: Propagation | None = None,
    ) -> Eni:
        """Attach a new ENI to the guest; the link appears there, down.

        ``ipv4`` and ``ipv6`` are how many addresses it gets (by default one of each family
        of the subnet; none at all makes it EFA-only), ``*_prefixes`` how many /28 and /80.
        ``device`` is by default the next one on the card; the ENI with device 0 on card 0
        is the primary. ``name`` is by default ``ens5``, ``ens6`` and so on.
        """
        eni = self._new_eni(subnet, name, device, card, mac, eni_id)
        _allot(eni, ipv4, ipv6, ipv4_prefixes, ipv6_prefixes)
        self.enis.append(eni)
        self.source_check.guard(eni.port, eni.holds())
        neighbours = mapping.neighbour_lines(subnet, eni.mac, ())
        self.router.ip([*neighbours, *mapping.gained_lines(eni, eni.holds())])
        if presence is not Presence.LINK_ONLY:
            self.register(eni, propagation)
        if presence is not Presence.IMDS_ONLY:
            self.plug(eni)
        return eni

    def _new_eni(
        self,
        subnet: Subnet,
        name: str | None,
        device: int | None,
        card: int,
        mac: str | None,
        eni_id: str | None,
    ) -> Eni:
        """An ENI of the next number, which holds no address yet."""
        taken = {eni.device for eni in self.enis if eni.card == card}
        if device is None:
            device = 1 + max(taken, default=-1)
        if device in taken:
            raise UsageError(f"card {card} has a device {device} already")
        self._made += 1
        return Eni(
            eni_id=EniId.parse(eni_id or f"eni-{self._made:017x}"),
            mac=hosts.eni_mac(self._made) if mac is None else Mac.parse(mac),
            name=parse_link_name(f"ens{4 + self._made}" if name is None else name),
            port=f"to-{self._made}",
            device=device,
            card=card,
            subnet=subnet,
            fabric=self,
        )

    def plug(self, eni: Eni) -> None:
        """Make the ENI's link appear in the guest."""
        self.router.ip(
            mapping.port_lines(
                eni.subnet, eni.port, namespace=self.guest.name, name=eni.name, mac=eni.mac
            )
        )
        self.router.bridge([mapping.forwarding_line(eni.port, eni.mac)])
        self._plugged.add(eni)

    def unplug(self, eni: Eni) -> None:
        """Delete the ENI's link, wherever it is; IMDS and the mapping stay."""
        self._plugged.discard(eni)
        self.router.ip([f"link del {eni.port}"])

    def register(self, eni: Eni, propagation: Propagation | None = None) -> None:
        """Tell IMDS about the ENI (or about its changes, when it is registered already)."""
        several_cards = self.cards > 1
        keys = imds_tree.eni_tree(
            eni,
            instance_id=self.instance_id,
            vpc_ipv4=[self.ipv4] if eni.subnet.ipv4 is not None else [],
            vpc_ipv6=[self.ipv6] if eni.subnet.ipv6 is not None else [],
            several_cards=several_cards,
        )
        self._registered.add(eni)
        self.imds.put_interface(str(eni.mac), keys, propagation)
        if eni.device == 0 and eni.card == 0:
            for key, value in imds_tree.instance_tree(eni, self.instance_id).items():
                self.imds.put(key, value)

    def unregister(self, eni: Eni) -> None:
        """Let IMDS forget the ENI; link and mapping stay."""
        self._registered.discard(eni)
        self.imds.remove_interface(str(eni.mac))

    def settle(self, eni: Eni, *keys: str) -> None:
        """End the ENI's propagation in IMDS now, or only that of these withheld keys."""
        self.imds.settle(str(eni.mac), *keys)

    def detach(
        self, eni: Eni, how: Detach = Detach.DELETE, *, into: Namespace | None = None
    ) -> Namespace | None:
        """Take the link from the guest.

        ``DELETE`` is EC2's detach: link, mapping and IMDS go. ``MOVE`` moves the link into
        another namespace (a new one by default, which is returned); the ENI stays attached
        and in IMDS, as with ECS awsvpc.
        """
        if how is Detach.MOVE:
            target = self.namespace(f"task{eni.port}") if into is None else into
            self.guest.ip([f"link set {eni.name} netns {target.name}"])
            return target
        if eni in self._plugged:
            self.unplug(eni)
        self.unregister(eni)
        self.router.ip(mapping.lost_lines(eni, eni.holds()))
        self.source_check.release(eni.port, eni.holds())
        self.enis.remove(eni)
        return None

    def remap(self, eni: Eni, gained: Iterable[Network], lost: Iterable[Network]) -> None:
        """See :class:`ec2net.core.simulation.vpc.eni.Fabric`. The VPC changes before IMDS tells."""
        gained, lost = list(gained), list(lost)
        self.source_check.change(eni.port, gained=gained, lost=lost)
        self.router.ip([*mapping.lost_lines(eni, lost), *mapping.gained_lines(eni, gained)])
        if eni in self._registered:
            self.register(eni)

    def configure_primary_base(self, eni: Eni, *, metric: int = DHCP_METRIC) -> None:
        """Do in the guest what DHCP and RAs do for the primary ENI: links up, one address of
        each family, its connected routes and default routes with this metric."""
        self.guest.ip(hosts.primary_lines(eni, metric))

    def dropped(self) -> int:
        """Packets that the source check dropped so far."""
        return self.source_check.dropped()

    def drops(self) -> tuple[Drop, ...]:
        """Which sources were dropped at which link (``port`` is the link's name in the guest)."""
        names = {eni.port: eni.name for eni in self.enis}
        return tuple(
            Drop(names.get(drop.port, drop.port), drop.source, drop.destination, drop.packets)
            for drop in self.source_check.drops()
        )

    def imds_only_through(self, eni: Eni) -> Fault:
        """A fault to inject: IMDS answers requests from this ENI's addresses only."""
        return Fault(OnlyFrom(frozenset(eni.addresses())))

    def silence_imds(self, version: int) -> None:
        """Drop all packets to the IPv4 (4) or IPv6 (6) endpoint of IMDS: nothing ever answers."""
        match = (
            f"ip daddr {mapping.IMDS_IPV4}" if version == 4 else f"ip6 daddr {mapping.IMDS_IPV6}"
        )
        self.router.nft(
            "table inet silence {\n chain input {\n"
            f"  type filter hook input priority 0\n  {match} drop\n }}\n}}\n"
        )

    def unsilence_imds(self) -> None:
        """Undo :meth:`silence_imds` for both endpoints."""
        self.router.nft("delete table inet silence\n")


def _allot(
    eni: Eni, ipv4: int | None, ipv6: int | None, ipv4_prefixes: int, ipv6_prefixes: int
) -> None:
    """Give the ENI so many addresses (None: one, if its subnet has the family) and prefixes."""
    subnet = eni.subnet
    has_ipv4, has_ipv6 = int(subnet.ipv4 is not None), int(subnet.ipv6 is not None)
    eni.ipv4s += [subnet.allot_ipv4() for _ in range(has_ipv4 if ipv4 is None else ipv4)]
    eni.ipv6s += [subnet.allot_ipv6() for _ in range(has_ipv6 if ipv6 is None else ipv6)]
    eni.ipv4_prefixes += [subnet.allot_ipv4_prefix() for _ in range(ipv4_prefixes)]
    eni.ipv6_prefixes += [subnet.allot_ipv6_prefix() for _ in range(ipv6_prefixes)]
    if eni.ipv4_prefixes and not eni.ipv4s:
        raise UsageError("an ENI with IPv4 prefixes has an IPv4 address", subject=eni.name)


def _imds_listeners() -> list[socket.socket]:
    listeners = []
    for family, address in (
        (socket.AF_INET, mapping.IMDS_IPV4),
        (socket.AF_INET6, mapping.IMDS_IPV6),
    ):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), _IMDS_PORT))
        listener.listen(512)
        listeners.append(listener)
    return listeners


def _delete(namespace: Namespace) -> None:
    with suppress(KernelError):  # a test may have deleted it
        namespace.delete()
