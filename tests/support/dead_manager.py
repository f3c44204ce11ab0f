# SPDX-License-Identifier: Apache-2.0
"""A network manager stops while EC2 changes something: the table's cells and the measurements."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, ip_address
from typing import Self

from lab_instance import COMPLETE_LIMIT, MANY, LabInstance
from probe import EVERY, Gap, Traffic

from ec2net.core.simulation.vpc.eni import Eni


class Death(Enum):
    """Ways in which the network manager stops."""

    STOP = "stop"
    KILL = "kill -9"
    """systemd starts it again at once."""
    BUS = "restart dbus"
    """NetworkManager exits when its bus stops; systemd-networkd connects again."""
    MASK = "mask"


class Event(Enum):
    """Changes that EC2 makes meanwhile."""

    NEW_ENI = "new ENI"
    NEW_ADDRESS = "new address"
    LOST_ENI = "lost ENI"
    NOTHING = "nothing"


@dataclass(slots=True)
class Row:
    """One cell of the table."""

    setting: str
    death: Death
    event: Event
    made: str = ""
    """Traffic that works before the network manager has started again."""
    kept: list[str] = field(default_factory=list)
    """Files that ec2net writes for the network manager while it is stopped."""
    wrong: int = 0
    """Packets that left through an ENI that does not hold their source."""
    gaps: list[Gap] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """Seconds of the longest run of lost connections between two addresses."""
        return max((end - begin for begin, end in runs(self.gaps)), default=0.0)

    def __str__(self) -> str:
        kept = ", ".join(name.rpartition("/")[2] for name in self.kept) or "none"
        cells = (self.setting, self.death.value, self.event.value, self.made, kept, str(self.wrong))
        return f"| {' | '.join((*cells, f'{self.longest:.2f}'))} |"


HEAD = (
    "| setting | network manager | EC2 | before its return | files kept | wrong way | longest gap, s |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def runs(gaps: Iterable[Gap]) -> Iterator[tuple[float, float]]:
    """Begin and end of each run of lost connections between two addresses, one each 20 ms."""
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for gap in gaps:
        times[gap.source, gap.destination].append(gap.seconds)
    for found in times.values():
        found.sort()
        began = last = found[0]
        for moment in found[1:]:
            if moment - last > 10 * EVERY:
                yield began, last + EVERY
                began = moment
            last = moment
        yield began, last + EVERY


def is_active(instance: LabInstance) -> bool:
    """Whether the network manager's unit runs."""
    unit = f"{instance.setting.manager}.service"
    return instance.host.run(["systemctl", "is-active", unit], check=False).returncode == 0


def die(instance: LabInstance, death: Death) -> None:
    """Stop the network manager."""
    host, units = instance.host, _units(instance)
    if death is Death.STOP:
        host.run(["systemctl", "stop", *units])
    elif death is Death.KILL:
        host.run(["systemctl", "kill", "--signal=KILL", units[-1]])
    elif death is Death.BUS:
        host.run(["systemctl", "restart", "dbus.service"])
    else:
        host.run(["systemctl", "mask", "--now", *units])


def come_back(instance: LabInstance, death: Death) -> None:
    """Start the network manager, and wait until it has configured its ENIs."""
    host, units = instance.host, _units(instance)
    if death is Death.MASK:
        host.run(["systemctl", "unmask", *units])
    # systemd-networkd 252 does not find back to a bus that was restarted.
    if death is Death.BUS and instance.setting.backend == "networkd":
        host.run(["systemctl", "restart", units[-1]])
    host.run(["systemctl", "start", *units])
    if instance.setting.backend == "networkmanager":  # its dispatcher ends with the bus
        host.run(["systemctl", "start", "NetworkManager-dispatcher.service"])
    for eni in instance.vpc.enis:
        host.wait_until(
            lambda name=eni.name: instance.setting.has_configured(host, name),  # type: ignore[misc]
            COMPLETE_LIMIT,
            f"{eni.name}: the network manager is done",
        )


def _units(instance: LabInstance) -> list[str]:
    """Its unit, after the socket that would start systemd-networkd again."""
    sockets = ["systemd-networkd.socket"] if instance.setting.backend == "networkd" else []
    return [*sockets, f"{instance.setting.manager}.service"]


def manager_files(instance: LabInstance) -> list[str]:
    """The files of ec2net that the network manager reads."""
    folders = ("/run/systemd/network/", "/run/NetworkManager/conf.d/")
    return sorted(name for name in instance.files() if name.startswith(folders))


@contextmanager
def measured(instance: LabInstance, row: Row, enis: Iterable[Eni]) -> Iterator[None]:
    """Count lost connections of these ENIs, and packets that leave through the wrong ENI."""
    before = Counter({(d.port, d.source, d.destination): d.packets for d in instance.vpc.drops()})
    with Traffic(instance.vpc, enis) as traffic:
        yield
        time.sleep(0.1)  # the connections of the last round
    row.gaps = traffic.gaps
    held = [network for eni in instance.vpc.enis for network in eni.holds()]
    for drop in instance.vpc.drops():
        # Connections of a detached ENI end late, and no route is left for them.
        if any(ip_address(drop.source) in network for network in held):
            row.wrong += drop.packets - before[drop.port, drop.source, drop.destination]


class Scene:
    """One change by EC2 on a host with two ENIs, and its inverse."""

    def __init__(self, instance: LabInstance, event: Event) -> None:
        self._instance = instance
        self._event = event
        self.new: Eni | None = None
        self._third: Eni | None = None
        self._address: IPv4Address | None = None
        self._base = (instance.primary, instance.secondary)

    def __enter__(self) -> Self:
        if self._event is Event.LOST_ENI:
            self._third = self._instance.attach_many()
            self._instance.until_at_rest(self._third)
        self._instance.refresh()
        return self

    def happen(self) -> None:
        """Make the change."""
        if self._event is Event.NEW_ENI:
            self.new = self._instance.attach(**MANY)
        elif self._event is Event.NEW_ADDRESS:
            self._address = self._instance.secondary.assign_ipv4()
        elif self._third is not None:
            self._instance.vpc.detach(self._third)

    def result(self) -> str:
        """The parts of the change that are visible on the host now."""
        instance = self._instance
        if self.new is not None:
            return f"ENI {'works' if self.works(self.new) else 'pending'}"
        if self._event is Event.NEW_ADDRESS:
            return (
                f"address {'works' if not instance.unreachable(instance.secondary) else 'missing'}"
            )
        if self._third is not None:
            left = [line for line in _rules(instance) if str(self._third.ipv4s[0]) in line]
            return "rules gone" if not left else "rules left"
        return "-"

    def works(self, eni: Eni) -> bool:
        """Called only when the ENI's rules exist: without them the answers leave through the
        primary."""
        if not any(str(eni.ipv4s[0]) in line for line in _rules(self._instance)):
            return False
        return self._instance.unreachable(eni) == []

    def __exit__(self, *_: object) -> None:
        instance = self._instance
        for eni in [eni for eni in instance.vpc.enis if eni not in self._base]:
            instance.vpc.detach(eni)
            instance.until_unit(eni.name, "inactive")
        if self._address is not None:
            instance.secondary.unassign_ipv4(self._address)
        instance.host.ec2net("refresh", check=False)


def _rules(instance: LabInstance) -> list[str]:
    return instance.host.run(["ip", "rule", "show"]).stdout.splitlines()
