# SPDX-License-Identifier: Apache-2.0
"""An instance in the simulated VPC with a number of ENIs, configured by ec2net and then idle."""

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from processes import peak, run

from ec2net.core.simulation.vpc.connections import Answer
from ec2net.core.simulation.vpc.eni import Eni, Presence
from ec2net.core.simulation.vpc.simulated import DEFAULT_IPV4, SimulatedVpc
from ec2net.core.simulation.vpc.subnet import Subnet

REACHABLE_SECONDS = 20.0
"""More than a pass may take: an address that is unreachable then stays unreachable."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The number of addresses and prefixes of each family on each ENI."""

    name: str
    ipv4: int = 0
    ipv6: int = 0
    ipv4_prefixes: int = 0
    ipv6_prefixes: int = 0
    seed: int | None = None
    """Random addresses, as EC2 assigns them; None: adjacent addresses, which need few rules."""

    @property
    def keys(self) -> int:
        """How many keys IMDS has for it that can change."""
        held = (self.ipv4, self.ipv6, self.ipv4_prefixes, self.ipv6_prefixes)
        return sum(count > 0 for count in held)


@dataclass(frozen=True, slots=True)
class BenchedHost:
    """A VPC whose guest is configured, and the command to run there."""

    vpc: SimulatedVpc
    mix: Mix
    subnet: Subnet
    """The network card and device number of each secondary ENI."""
    environ: Mapping[str, str]
    ec2net: Sequence[str]
    where: tuple[str, ...]
    """Arguments for the configuration and the state directory."""

    def command(self, name: str, *arguments: str) -> list[str]:
        return [*self.ec2net, name, *self.where, *arguments]

    def peak(self, name: str) -> int:
        """Peak resident set of a command that does not fail, in KiB."""
        code = "from ec2net.core.cli.main import main\nassert main() == 0"
        return peak(code, self.environ, name, *self.where, inside=self.vpc.guest)

    def hotplug(self) -> float:
        """Attach an ENI and ``start`` it: seconds from its link to a connection from outside."""
        eni = self.attach(len(self.vpc.enis), Presence.IMDS_ONLY)
        command = self.command("start", eni.name)
        self.vpc.plug(eni)
        began = time.monotonic()
        start = threading.Thread(target=run, args=(command, self.environ, self.vpc.guest))
        start.start()
        while time.monotonic() < began + REACHABLE_SECONDS:
            answer = self.vpc.connect(self.vpc.outside.namespace, None, eni.ipv4s[0], timeout=0.02)
            if isinstance(answer, Answer):
                seconds = time.monotonic() - began
                start.join()
                return seconds
        raise RuntimeError(f"{eni.name} is not reachable after {REACHABLE_SECONDS:g} s")

    def attach(self, device: int, presence: Presence = Presence.LINK_AND_IMDS) -> Eni:
        mix = self.mix
        card, on_card = divmod(device, 2) if self.vpc.cards > 1 else (0, device)
        return self.vpc.attach(
            self.subnet if device else self.vpc.subnets[0],
            device=on_card,
            card=card,
            ipv4=mix.ipv4,
            ipv6=mix.ipv6,
            ipv4_prefixes=mix.ipv4_prefixes,
            ipv6_prefixes=mix.ipv6_prefixes,
            presence=presence,
        )


@contextmanager
def host(
    enis: int,
    mix: Mix,
    environ: Mapping[str, str],
    ec2net: Sequence[str],
    *,
    settled: bool = True,
) -> Iterator[BenchedHost]:
    """A guest with ``enis`` ENIs after one pass, so that the next pass changes nothing.

    With ``settled`` false no pass has run. With random addresses each card has two ENIs, and
    subnets have the largest size.
    """
    cards = 1 if mix.seed is None else (enis + 1) // 2
    vpc_ipv4 = DEFAULT_IPV4 if mix.seed is None else IPv4Network("10.0.0.0/8")
    with (
        tempfile.TemporaryDirectory() as folder,
        SimulatedVpc(cards=cards, ipv4=vpc_ipv4, seed=mix.seed) as vpc,
    ):
        root = Path(folder)
        (root / "etc/ec2net").mkdir(parents=True)
        # A busy machine is to be measured, not to be cut short: the bench judges the time itself.
        seconds = 15 if settled else 100
        (root / "etc/ec2net/ec2net.toml").write_text(
            f'[links]\ndrivers = ["veth"]\n[timeouts]\npass = {seconds}\n'
        )
        subnets = [
            vpc.add_subnet(
                _subnet(number, mix) if mix.ipv4 else None,
                f"2001:db8:0:{number}::/64" if mix.ipv6 else None,
            )
            for number in (1, 2)
        ]
        where = ("--config-root", folder, "--run-dir", str(root / "run"))
        made = BenchedHost(vpc, mix, subnets[1], environ, ec2net, where)
        for device in range(enis):
            eni = made.attach(device)
            if device == 0:
                vpc.configure_primary_base(eni)
        if settled:
            run(made.command("refresh"), environ, vpc.guest)
        yield made


def _subnet(number: int, mix: Mix) -> str:
    return f"10.0.{16 * number}.0/20" if mix.seed is None else f"10.{number}.0.0/16"
