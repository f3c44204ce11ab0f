# SPDX-License-Identifier: Apache-2.0
"""DHCP, DHCPv6 and router advertisements as in a VPC: one dnsmasq for each subnet.

Reservations only, as on EC2: an ENI gets its primary IPv4 and its first IPv6 address.
Other clients get no answer. Needs the ``dnsmasq`` command (Debian: dnsmasq-base).
"""

import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ec2net.core.model.errors import DeadlineExceeded, Ec2netError
from ec2net.core.simulation.vpc import mapping
from ec2net.core.simulation.vpc.eni import Eni, link_local
from ec2net.core.simulation.vpc.namespace import Namespace
from ec2net.core.simulation.vpc.sandbox import command_path
from ec2net.core.simulation.vpc.simulated import SimulatedVpc
from ec2net.core.simulation.vpc.source_check import Network
from ec2net.core.simulation.vpc.subnet import GATEWAY_LINK_LOCAL, Subnet

IPV4_LEASE = 3600
"""Seconds; what EC2's DHCP server grants."""

IPV6_LEASE = 450
"""Seconds; what EC2's DHCPv6 server grants (preferred for 140 s there, for 450 s here)."""

_ROUTER_LIFETIME = 1800
_RA_INTERVAL = 600
_START_LIMIT = 10.0
_STOP_LIMIT = 5.0
_DOMAIN = "ec2.internal"
_REQUEST = re.compile(r" (DHCP[A-Z0-9]+)\((?P<bridge>[^)]+)\) (?P<rest>.*)$")


@dataclass(frozen=True, slots=True)
class DhcpMessage:
    """A message as the server logged it, such as ``DHCPREQUEST`` or ``DHCPSOLICIT``."""

    kind: str
    bridge: str
    detail: str
    """The rest of the line: addresses, the MAC (IPv4) or the client's DUID (IPv6)."""
    seconds: float
    """When the line was read, by CLOCK_MONOTONIC."""


class SubnetServer:
    """The server of one subnet; its reservations are changed by :meth:`reserve`."""

    def __init__(self, router: Namespace, subnet: Subnet, mtu: int = mapping.MTU) -> None:
        """``mtu``: option 26."""
        if shutil.which("dnsmasq", path=command_path()["PATH"]) is None:
            raise Ec2netError("there is no dnsmasq command", remedy="install dnsmasq-base")
        self.subnet = subnet
        self._mtu = mtu
        # A sandbox has a private /run: the end of its process deletes the folder in any case.
        self._folder = Path(tempfile.mkdtemp(prefix=f"ec2net-{subnet.bridge}-", dir="/run"))
        self._hosts = self._folder / "hosts"
        self._hosts.write_text("")
        self._lines: list[tuple[float, str]] = []
        self._said = threading.Condition()
        self._ended = False
        _leave_only_the_gateway(router, subnet)
        self._process = self._start(router)
        self._listener = threading.Thread(
            target=self._listen, name=f"dhcp-{subnet.bridge}", daemon=True
        )
        self._listener.start()
        self._await_line(f"read {self._hosts}")

    def reserve(self, enis: Iterable[Eni]) -> None:
        """Serve these ENIs and no others; returns when the server knows."""
        text = "".join(f"{line}\n" for eni in enis for line in _reservations(eni))
        if text == self._hosts.read_text():
            return
        self._hosts.write_text(text)
        mark = len(self._lines)
        self._process.send_signal(signal.SIGHUP)
        self._await_line(f"read {self._hosts}", mark)

    def messages(self) -> tuple[DhcpMessage, ...]:
        """The messages of clients and the answers, since the start."""
        with self._said:
            lines = list(self._lines)
        found = ((seconds, _REQUEST.search(line)) for seconds, line in lines)
        return tuple(
            DhcpMessage(match[1], match["bridge"], match["rest"], seconds)
            for seconds, match in found
            if match
        )

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_LIMIT)
        self._listener.join(_STOP_LIMIT)
        if self._process.stderr is not None:
            self._process.stderr.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, router: Namespace) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", router.name),
                # Ends with the calling thread, if that is killed before close().
                *("setpriv", "--pdeathsig=KILL", "dnsmasq"),
                *_options(self.subnet, self._hosts, self._mtu),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=command_path(),
        )

    def _await_line(self, wanted: str, mark: int = 0) -> None:
        with self._said:
            known = self._said.wait_for(
                lambda: self._ended or any(wanted in line for _, line in self._lines[mark:]),
                _START_LIMIT,
            )
            said = [line for _, line in self._lines[mark:]]
        if any(wanted in line for line in said):
            return
        if known:
            raise Ec2netError(f"dnsmasq ended: {' '.join(said)}", subject=self.subnet.bridge)
        raise DeadlineExceeded(
            f"dnsmasq did not say '{wanted}' within {_START_LIMIT:g} s",
            subject=self.subnet.bridge,
        )

    def _listen(self) -> None:
        """Read the log as it comes: a full pipe would stop the server."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._said:
                self._lines.append((time.monotonic(), line.rstrip("\n")))
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


class VpcWithDhcp(SimulatedVpc):
    """A simulated VPC whose subnets have DHCP servers and router advertisements.

    A reservation is there before the link of its ENI appears.
    """

    mtu = mapping.MTU
    """The MTU that servers of later subnets give their clients."""

    def _build(self) -> None:
        self.servers: dict[Subnet, SubnetServer] = {}
        super()._build()

    def add_subnet(self, ipv4: str | None = None, ipv6: str | None = None) -> Subnet:
        subnet = super().add_subnet(ipv4, ipv6)
        server = SubnetServer(self.router, subnet, self.mtu)
        self._stack.callback(server.close)
        self.servers[subnet] = server
        return subnet

    def plug(self, eni: Eni) -> None:
        self.reserve(eni.subnet)
        super().plug(eni)

    def remap(self, eni: Eni, gained: Iterable[Network], lost: Iterable[Network]) -> None:
        super().remap(eni, gained, lost)
        self.reserve(eni.subnet)

    def dhcp_messages(self, eni: Eni) -> tuple[DhcpMessage, ...]:
        """The DHCPv4 messages of an ENI so far, oldest first."""
        return tuple(
            message
            for message in self.servers[eni.subnet].messages()
            if str(eni.mac) in message.detail.split()
        )

    def reserve(self, subnet: Subnet) -> None:
        """Let the DHCP server know the ENIs of a subnet. Those that are plugged it knows."""
        self.servers[subnet].reserve(eni for eni in self.enis if eni.subnet is subnet)


def _leave_only_the_gateway(router: Namespace, subnet: Subnet) -> None:
    """Leave the bridge no link-local address but the gateway's: RAs come from any of them.

    With the prefix length of the whole range, since the clients' are in fe80::/64.
    """
    bridge = subnet.bridge
    router.ip([f"link set {bridge} addrgenmode none"])
    router.ip_each(
        [
            f"addr del {link_local(subnet.gateway_mac)}/64 dev {bridge}",
            f"addr del {GATEWAY_LINK_LOCAL}/64 dev {bridge}",
        ]
    )
    router.ip([f"addr add {GATEWAY_LINK_LOCAL}/10 dev {bridge} nodad"])


def _reservations(eni: Eni) -> Iterator[str]:
    if eni.ipv4s:
        yield f"{eni.mac},{eni.ipv4s[0]}"
    if eni.ipv6s:
        yield f"{eni.mac},[{eni.ipv6s[0]}]"


def _options(subnet: Subnet, hosts: Path, mtu: int) -> Iterator[str]:
    yield "--conf-file=/dev/null"
    yield "--keep-in-foreground"
    yield "--log-facility=-"
    yield "--log-dhcp"
    yield "--port=0"
    # Another user or group would clear the signal that setpriv asked for.
    yield "--user=root"
    yield "--group=root"
    yield "--pid-file="
    yield "--bind-interfaces"
    yield "--except-interface=lo"
    yield f"--interface={subnet.bridge}"
    yield f"--dhcp-hostsfile={hosts}"
    yield f"--dhcp-leasefile={hosts.with_name('leases')}"
    yield "--dhcp-authoritative"
    # Unicast to a client without an address would overwrite the VPC's permanent neighbours.
    yield "--dhcp-broadcast"
    yield "--no-ping"
    if subnet.ipv4 is not None:
        network = subnet.ipv4
        yield f"--dhcp-range={network.network_address},static,{network.netmask},{IPV4_LEASE}"
        yield f"--dhcp-option=option:router,{subnet.gateway_ipv4}"
        yield "--dhcp-option=option:dns-server,169.254.169.253"
        yield "--dhcp-option=option:ntp-server,169.254.169.123"
        yield f"--dhcp-option=option:domain-name,{_DOMAIN}"
        yield f"--dhcp-option=option:mtu,{mtu}"
    if subnet.ipv6 is not None:
        network6 = subnet.ipv6
        # A static range makes RAs with the managed flag and an on-link, not autonomous prefix.
        yield f"--dhcp-range={network6.network_address},static,{network6.prefixlen},{IPV6_LEASE}"
        yield "--dhcp-option=option6:dns-server,[fd00:ec2::253]"
        yield f"--dhcp-option=option6:domain-search,{_DOMAIN}"
        yield "--enable-ra"
        yield f"--ra-param={subnet.bridge},mtu:off,{_RA_INTERVAL},{_ROUTER_LIFETIME}"
