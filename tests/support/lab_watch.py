# SPDX-License-Identifier: Apache-2.0
"""The fate of addresses, routes and rules during an action on a host's networkd."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from lab_host import LabHost
from lab_root import Release, cached_root

from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.subnet import Subnet

QUIET = 2.5
"""Seconds without an event in the kernel after which an action counts as complete: networkd waits
up to 1.5 s before it requests a router advertisement."""

LONGEST = 15.0


# A watched object of the kernel, recognised in a line of `ip -o monitor` or of a dump.
@dataclass(frozen=True)
class Watched:
    name: str
    pattern: str
    add: str = ""
    """An ip command that adds the object, if networkd does not."""

    def matches(self, line: str) -> bool:
        return re.search(self.pattern, line) is not None


THEIRS = (
    Watched("ens5 IPv4 lease", r"ens5 +inet 10\.0\.1\.4/24 "),
    Watched("ens5 IPv6 lease", r"ens5 +inet6 2001:db8:0:1::4/128 "),
    Watched("ens5 IPv4 default route", r"^default via 10\S+ dev ens5 "),
    Watched("ens5 IPv6 default route", r"^default .*via fe80\S+ dev ens5 "),
    Watched("ens6 IPv4 lease", r"ens6 +inet 10\.0\.2\.4/24 "),
    Watched("ens6 IPv6 lease", r"ens6 +inet6 2001:db8:0:2::4/128 "),
    Watched("ens6 IPv4 default route", r"^default via 10\S+ dev ens6 "),
    Watched("ens6 IPv6 default route", r"^default .*via fe80\S+ dev ens6 "),
    Watched("/32 in the file of ens6", r"ens6 +inet 10\.0\.2\.5/32 "),
)
FOREIGN = (
    Watched("foreign rule", r"^500:", "rule add fwmark 7 lookup 77 priority 500"),
    Watched("foreign route, main", r"^203\.0\.113\.0/24 ", "route add 203.0.113.0/24 dev ens5"),
    Watched(
        "foreign route, table 77", r"^192\.0\.2\.0/24 ", "route add 192.0.2.0/24 dev ens6 table 77"
    ),
    Watched(
        "foreign /32 on ens6", r"ens6 +inet 10\.0\.2\.99/32 ", "addr add 10.0.2.99/32 dev ens6"
    ),
    Watched(
        "foreign /128 on ens5",
        r"ens5 +inet6 2001:db8:0:1::99/128 ",
        "addr add 2001:db8:0:1::99/128 dev ens5 nodad",
    ),
)
OURS = (
    Watched(
        "our rule (protocol 236)",
        r"^10001:",
        "rule add from 10.0.2.6 lookup 10001 priority 10001 protocol 236",
    ),
    Watched(
        "our route (protocol 236)",
        r"^198\.18\.0\.0/24 ",
        "route add 198.18.0.0/24 dev ens6 table 10001 protocol 236",
    ),
    Watched(
        "our /32 (IFA_PROTO 236)",
        r"ens6 +inet 10\.0\.2\.6/32 ",
        "addr add 10.0.2.6/32 dev ens6 proto 236 noprefixroute",
    ),
    Watched(
        "our /128 (IFA_PROTO 236)",
        r"ens6 +inet6 2001:db8:0:2::66/128 ",
        "addr add 2001:db8:0:2::66/128 dev ens6 proto 236 noprefixroute nodad",
    ),
)
EVERYTHING = (*THEIRS, *FOREIGN, *OURS)


@dataclass
class Outcome:
    """The effects of an action."""

    cells: dict[str, str]
    """By name of the watched object: ``stays``, ``gone``, for how long it was absent, when it
    appeared."""
    said: list[str]
    """networkd's log of the action."""
    dhcp: dict[str, int]
    """How many DHCPv4 messages each ENI sent."""


class Bench:
    """A host with one or two ENIs; ``other`` is the subnet of the second."""

    def __init__(self, vpc: VpcWithDhcp, host: LabHost, enis: list[Eni], other: Subnet) -> None:
        self.vpc = vpc
        self.host = host
        self.enis = enis
        self.other = other

    def ip(self, command: str) -> None:
        """Run a new ``ip`` (Debian 12's cannot give addresses a protocol) in the guest."""
        namespace = f"--net={self.vpc.guest.path}"
        root = cached_root(Release.TRIXIE)
        subprocess.run(["nsenter", namespace, "chroot", root, "ip", *command.split()], check=True)

    def dump(self) -> list[str]:
        script = "ip -o addr; ip -o route show table all; ip rule; ip -6 rule"
        return self.host.run(["sh", "-c", script]).stdout.splitlines()

    def complete(self) -> None:
        """Wait for the leases, and add missing objects that networkd does not."""
        links = [eni.name for eni in self.enis]
        needed = [w for w in THEIRS if "/32" not in w.name and w.name.split()[0] in links]

        def there() -> bool:
            lines = self.dump()
            return all(any(w.matches(line) for line in lines) for w in needed)

        self.host.wait_until(there, LONGEST, "leases on both ENIs")
        lines = self.dump()
        for watched in (*FOREIGN, *OURS):
            if not any(watched.matches(line) for line in lines) and (
                "ens6" in links or "ens6" not in watched.add
            ):
                self.ip(watched.add)

    def act(self, action: Callable[[], object]) -> Outcome:
        """Perform the action, wait until the kernel is quiet, and report on the watched objects."""
        before = self.dump()
        cursor = self.host.cursor()
        messages = {eni: len(self.vpc.dhcp_messages(eni)) for eni in self.enis}
        with monitor(self.vpc) as events:
            began = time.time()
            action()
            events.settle()
        after = self.dump()
        cells = {}
        for item in EVERYTHING:
            if not any(item.matches(line) for line in before):
                if arrival := events.arrival(item, began):
                    cells[item.name] = arrival
                continue
            cells[item.name] = events.fate(item, any(item.matches(line) for line in after))
        said = [
            entry.message
            for entry in self.host.journal(since=cursor)
            if entry.identifier == "systemd-networkd"
            and re.search(r"onfiguring|lost|critical", entry.message)
        ]
        dhcp = {}
        for eni in self.enis:
            fresh = self.vpc.dhcp_messages(eni)[messages.get(eni, 0) :]
            dhcp[eni.name] = sum(m.kind in {"DHCPDISCOVER", "DHCPREQUEST"} for m in fresh)
        return Outcome(cells, said, dhcp)


class Events:
    """Lines of ``ip -o -ts monitor`` with their times."""

    def __init__(self, pipe: "subprocess.Popen[str]") -> None:
        self.lines: list[tuple[float, str]] = []
        self._pipe = pipe
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._pipe.stdout is not None
        for line in self._pipe.stdout:
            found = re.match(r"\[([^\]]+)\] *(?:\[[A-Z]+\])?(.*)", line)
            if found:
                moment = datetime.fromisoformat(found[1]).timestamp()
                with self._arrived:
                    self.lines.append((moment, found[2]))
                    self._arrived.notify_all()

    def end(self) -> None:
        """After the end of the process."""
        self._reader.join()
        assert self._pipe.stdout is not None
        self._pipe.stdout.close()

    def settle(self) -> None:
        end = time.monotonic() + LONGEST
        with self._arrived:
            while time.monotonic() < end and self._arrived.wait(QUIET):
                pass

    def arrival(self, item: Watched, began: float) -> str:
        """When an absent object first appeared, if it did."""
        for moment, line in self.lines:
            if item.matches(line):
                return f"after {(moment - began) * 1000:.0f} ms"
        return ""

    def fate(self, item: Watched, there: bool) -> str:
        """``stays``, ``gone``, or for how long it was away."""
        left: float | None = None
        away = 0.0
        times = 0
        for moment, line in self.lines:
            deleted = line.startswith("Deleted ")
            if item.matches(line.removeprefix("Deleted ")):
                if deleted and left is None:
                    left = moment
                    times += 1
                elif not deleted and left is not None:
                    away += moment - left
                    left = None
        if not there:
            return "**gone**"
        if times == 0:
            return "stays"
        return f"bounce {away * 1000:.0f} ms"


@contextmanager
def monitor(vpc: VpcWithDhcp) -> Iterator[Events]:
    """Watch addresses, routes and rules of the guest."""
    process = subprocess.Popen(
        [
            *("nsenter", f"--net={vpc.guest.path}"),
            *("ip", "-o", "-ts", "monitor", "address", "route", "rule"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.2)  # no output marks the start of listening
    events = Events(process)
    try:
        yield events
    finally:
        process.terminate()
        process.wait()
        events.end()
