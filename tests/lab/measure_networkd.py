# SPDX-License-Identifier: Apache-2.0
"""Measure what systemd-networkd does to leases and to others' state. Prints Markdown.

    sudo PYTHONPATH=src:tests/support python3 tests/lab/measure_networkd.py [bookworm] [trixie] [--only PART ...]

docs/networkd-measured.md has the results. Run tests/lab/setup.sh first.
"""

import argparse
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab_host import HostError, LabHost
from lab_root import RELEASES, Release
from lab_watch import LONGEST, THEIRS, Bench, Outcome

from ec2net.core.simulation.vpc import sandbox
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

NETWORK = "/etc/systemd/network"
DEFAULT_FILE = """\
[Match]
Driver=ena ixgbevf vif veth

[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
LLMNR=no
{network}
[DHCPv4]
UseHostname=no
SendHostname=no
RouteMetric={metric}
{dhcpv4}
[DHCPv6]
UseHostname=no
WithoutRA=solicit

[IPv6AcceptRA]
RouteMetric={metric}
{accept_ra}
"""
FOREIGN_NO = """\
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
"""


def network_file(
    name: str | None = None,
    *,
    metric: int = 512,
    network: str = "",
    dhcpv4: str = "",
    accept_ra: str = "",
) -> str:
    """A .network file for one link, or for all ENIs."""
    text = DEFAULT_FILE.format(metric=metric, network=network, dhcpv4=dhcpv4, accept_ra=accept_ra)
    if name is not None:
        text = text.replace("[Match]\n", f"[Match]\nName={name}\n")
    return text


@contextmanager
def bench(release: Release, files: dict[str, str], *, second: bool = True) -> Iterator[Bench]:
    """A host with these files; with complete ENIs and added objects, foreign and ec2net's."""
    with VpcWithDhcp(seed=None) as vpc:
        one = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
        two = vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64")
        enis = [vpc.attach(one, device=0)]
        if second:
            enis.append(vpc.attach(two))
        with LabHost(vpc, release, files=files) as host:
            made = Bench(vpc, host, enis, two)
            made.complete()
            yield made


def version(host: LabHost) -> str:
    return host.run(["networkctl", "--version"]).stdout.split("\n")[0]


def table(rows: dict[str, dict[str, str]]) -> str:
    """Markdown: objects down, actions across."""
    objects = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    lines = ["| |" + "|".join(rows) + "|", "|---" * (len(rows) + 1) + "|"]
    lines += [
        f"| {name} |" + "|".join(cells.get(name, "") for cells in rows.values()) + "|"
        for name in objects
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Setting:
    """One combination: the contents of every .network file, of ens6's file, and of
    networkd.conf."""

    network: str = ""
    conf: str = ""
    dhcp: str = "yes"
    ens6: str = "[Address]\nAddress=10.0.2.5/32\n"
    accept_ra: str = ""


_STATIC_IPV6 = """\
[Address]
Address=10.0.2.5/32
[Address]
Address=2001:db8:0:2::4/128
"""
_STATIC = """\
[Address]
Address=10.0.2.4/24
RouteMetric=513
[Address]
Address=10.0.2.5/32
[Address]
Address=2001:db8:0:2::4/128
[Route]
Gateway=10.0.2.1
Metric=513
[Route]
Gateway=fe80:ec2::1
Metric=513
"""

SETTINGS = {
    "defaults": Setting(),
    "KeepConfiguration=dhcp": Setting("KeepConfiguration=dhcp\n"),
    "ManageForeign…=no": Setting("", FOREIGN_NO),
    "KeepConfiguration=dhcp, ManageForeign…=no": Setting("KeepConfiguration=dhcp\n", FOREIGN_NO),
    "KeepConfiguration=static, ManageForeign…=no": Setting(
        "KeepConfiguration=static\n", FOREIGN_NO
    ),
    "KeepConfiguration=yes, ManageForeign…=no": Setting("KeepConfiguration=yes\n", FOREIGN_NO),
    "KeepConfiguration=yes": Setting("KeepConfiguration=yes\n"),
    "KeepConfiguration=yes, ManageForeign…=no with NextHops": Setting(
        "KeepConfiguration=yes\n", FOREIGN_NO + "ManageForeignNextHops=no\n"
    ),
    "KeepConfiguration=yes, ManageForeign…=no, no DHCPv6: the IPv6 address is in the file": Setting(
        "KeepConfiguration=yes\n",
        FOREIGN_NO,
        dhcp="ipv4",
        ens6=_STATIC_IPV6,
        accept_ra="DHCPv6Client=no\n",
    ),
    "KeepConfiguration=yes, ManageForeign…=no, ens6 has no DHCP and no RA: all is in the file": (
        Setting(
            "KeepConfiguration=yes\n",
            FOREIGN_NO,
            dhcp="no",
            ens6=_STATIC,
        )
    ),
}


def reload_and_restart(release: Release) -> None:
    """The table of settings by reload and restart, and (a) and (c)."""
    for title, setting in SETTINGS.items():
        own = network_file(
            "ens6", metric=513, network=setting.network, accept_ra=setting.accept_ra
        ).replace("DHCP=yes", f"DHCP={setting.dhcp}")
        if setting.dhcp == "no":
            own = own.replace("[Network]\n", "[Network]\nIPv6AcceptRA=no\n")
        files = {
            f"{NETWORK}/80-ec2.network": network_file(network=setting.network),
            f"{NETWORK}/70-ens6.network": own,
            f"{NETWORK}/70-ens6.network.d/10-own.conf": setting.ens6,
        }
        if setting.conf:
            files["/etc/systemd/networkd.conf.d/10-lab.conf"] = setting.conf
        with bench(release, files) as b:
            rows = _rows(b, setting)
            print(f"\n### {version(b.host)}: {title}\n")
            print(table({name: outcome.cells for name, outcome in rows.items()}))
            print()
            for name, outcome in rows.items():
                said = "; ".join(
                    line for line in outcome.said if re.search("lost|critical|Reconf", line)
                )
                print(f"- {name}: {said or 'no word of a lost lease'}; DHCPv4 {outcome.dhcp}")
            sys.stdout.flush()


def _rows(b: Bench, setting: Setting) -> dict[str, Outcome]:
    host = b.host
    folder, drop = f"{NETWORK}/70-ens6.network.d", "/run/systemd/network/70-ens6.network.d"

    def reload() -> None:
        host.run(["networkctl", "reload"])

    def touched() -> None:
        host.run(["touch", f"{folder}/10-own.conf"])
        reload()

    def appears() -> None:
        host.write(f"{drop}/20-a.conf", "# nothing\n")
        reload()

    def changes() -> None:
        host.write(f"{folder}/10-own.conf", f"{setting.ens6}[Address]\nAddress=10.0.2.7/32\n")
        reload()

    def other_goes() -> None:
        host.run(["rm", "/run/systemd/network/70-ens9.network"])
        reload()

    host.write("/run/systemd/network/70-ens9.network", network_file("ens9"))
    reload()
    actions: dict[str, Callable[[], object]] = {
        "reload, nothing changed": reload,
        "reload, file of an absent link removed": other_goes,
        "reload, drop-in touched": touched,
        "reload, drop-in of a comment added": appears,
        "reload, address added to drop-in": changes,
        "reconfigure ens6": lambda: host.run(["networkctl", "reconfigure", "ens6"]),
        "restart": lambda: host.run(["systemctl", "restart", "systemd-networkd"]),
        "stop, then start": lambda: [
            host.run(["systemctl", verb, "systemd-networkd.service", "systemd-networkd.socket"])
            for verb in ("stop", "start")
        ],
    }
    rows: dict[str, Outcome] = {}
    for name, action in actions.items():
        try:
            b.complete()
        except HostError:
            # Still absent 15 s after the last action: reported with that action.
            last = rows[list(rows)[-1]]
            missing = [w.name for w in THEIRS if not any(w.matches(x) for x in b.dump())]
            last.said.append(f"still lost after {LONGEST:g} s: {', '.join(missing)}")
            host.run(["networkctl", "reconfigure", "ens5", "ens6"])
            b.complete()
        rows[name] = b.act(action)
    return rows


def route_table(release: Release) -> None:
    """(b): where RouteTable= puts the routes."""
    variants = {
        "RouteTable= in [DHCPv4] and [IPv6AcceptRA]": ("RouteTable=10001\n", "RouteTable=10001\n"),
        "and UseRoutes=no in [DHCPv4]": ("RouteTable=10001\nUseRoutes=no\n", "RouteTable=10001\n"),
    }
    for title, (dhcpv4, accept_ra) in variants.items():
        files = {
            f"{NETWORK}/80-ec2.network": network_file(),
            f"{NETWORK}/70-ens6.network": network_file(
                "ens6", metric=513, dhcpv4=dhcpv4, accept_ra=accept_ra
            ),
        }
        with VpcWithDhcp(seed=None) as vpc:
            one = vpc.add_subnet("10.0.1.0/24", "2001:db8:0:1::/64")
            two = vpc.add_subnet("10.0.2.0/24", "2001:db8:0:2::/64")
            vpc.attach(one, device=0)
            vpc.attach(two)
            with LabHost(vpc, release, files=files) as host:
                host.wait_until(
                    lambda: (
                        "2001:db8:0:2::4" in host.run(["ip", "-6", "addr"]).stdout
                        and "10.0.2.4/" in host.run(["ip", "addr"]).stdout
                    ),
                    LONGEST,
                )
                time.sleep(1)
                print(f"\n### {version(host)}: {title}\n\n```")
                for family in ("-4", "-6"):
                    for which in ("main", "10001", "local"):
                        text = host.run(
                            ["ip", family, "route", "show", "table", which, "dev", "ens6"],
                            check=False,
                        ).stdout
                        if which != "local":
                            print(
                                f"# ip {family} route show table {which} dev ens6\n{text.rstrip()}"
                            )
                print(host.run(["ip", "-d", "addr", "show", "dev", "ens6"]).stdout.rstrip())
                print("```", flush=True)


RUN = "/run/systemd/network"
Step = Callable[[LabHost], object]


def _reload(host: LabHost) -> None:
    host.run(["networkctl", "reload"])


def _write(name: str, text: str) -> Step:
    return lambda host: host.write(f"{RUN}/{name}", text)


def _both(one: Step, two: Step) -> Step:
    return lambda host: (one(host), two(host))


def _hotplug(release: Release, files: dict[str, str], before: Step, after: Step) -> Outcome:
    """A link appears; something is done before and after."""
    with bench(release, files, second=False) as b:
        before(b.host)
        b.complete()

        def action() -> None:
            b.enis.append(b.vpc.attach(b.other))
            after(b.host)

        return b.act(action)


def _later(release: Release, files: dict[str, str], change: Step) -> Outcome:
    """A link has been configured by the default; then something is changed, and reloaded."""
    with bench(release, files) as b:
        return b.act(lambda: _both(change, _reload)(b.host))


def _until_ens6(state: str) -> Step:
    """Wait until networkd reports this state of ens6. No event announces it."""

    def wait(host: LabHost) -> None:
        end = time.monotonic() + LONGEST
        while state not in host.run(["networkctl", "list", "ens6"], check=False).stdout:
            if time.monotonic() > end:
                raise HostError(f"ens6 was not {state} within {LONGEST:g} s")
            time.sleep(0.02)

    return wait


def first_file(release: Release) -> None:
    """(d) and (e): files written before and after the link appears."""
    for keep in ("", "KeepConfiguration=dhcp\n", "KeepConfiguration=yes\n"):
        default = network_file(network=keep)
        only_ens5 = network_file("ens5", network=keep)
        no_dhcp = default.replace("DHCP=yes", "DHCP=no\nIPv6AcceptRA=no")
        conf = {"/etc/systemd/networkd.conf.d/10-lab.conf": FOREIGN_NO}
        usual = {**conf, f"{NETWORK}/80-ec2.network": default}
        held = {**conf, f"{NETWORK}/70-ens5.network": only_ens5}
        own = _write("70-ens6.network", network_file("ens6", metric=513, network=keep))
        link = [
            "sh",
            "-c",
            f"mkdir -p {RUN} && ln -s {NETWORK}/80-ec2.network {RUN}/70-ens6.network",
        ]
        nothing: Step = LabHost.cursor
        now = _both(own, _reload)
        outcomes = {
            "d1: own file and reload, then the link": _hotplug(release, usual, now, nothing),
            "d2: own file without reload, then the link": _hotplug(release, usual, own, nothing),
            "d3: the link, at once own file and reload": _hotplug(release, usual, nothing, now),
            "d4: another file without DHCP holds the link; own file and reload": _hotplug(
                release,
                {**held, f"{NETWORK}/75-new.network": no_dhcp},
                nothing,
                _both(_until_ens6("configured"), now),
            ),
            "d5: no file matches the link; own file and reload": _hotplug(
                release, held, nothing, _both(_until_ens6("unmanaged"), now)
            ),
            "e1: own file with another metric": _later(release, usual, own),
            "e2: own file with the default's text and Name=": _later(
                release, usual, _write("70-ens6.network", network_file("ens6", network=keep))
            ),
            "e3: own file is a copy of the default": _later(
                release, usual, _write("70-ens6.network", default)
            ),
            "e4: own file is a symbolic link to the default": _later(
                release,
                usual,
                lambda host, link=link: host.run(link),  # type: ignore[misc]
            ),
            "e5: a file for a link that is not there": _later(
                release, usual, _write("70-ens9.network", network_file("ens9"))
            ),
        }
        print(f"\n### {release.value}: first file, {keep.strip() or 'no KeepConfiguration'}\n")
        for name, outcome in outcomes.items():
            changed = [f"{what} {how}" for what, how in outcome.cells.items() if how != "stays"]
            print(f"- {name}: {', '.join(changed) or 'nothing lost'}; DHCPv4 {outcome.dhcp}")
            for line in outcome.said:
                print(f"    - {line}")
        sys.stdout.flush()


def solicitations(release: Release) -> None:
    """The seconds from a new link to networkd's request for a router advertisement."""
    print(f"\n### {release.value}: first router solicitation after the link appeared, seconds\n")
    with bench(release, {f"{NETWORK}/80-ec2.network": network_file()}, second=False) as b:
        every = socket.htons(0x0003)  # ETH_P_ALL: before the port hands the frame to its bridge
        sniffer = b.vpc.router.call(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every)
        )
        with sniffer:
            sniffer.settimeout(LONGEST)
            for number in range(8):
                began = time.monotonic()
                eni = b.vpc.attach(b.other, f"ens{10 + number}")
                while True:  # ends by the timeout of the socket
                    packet, source = sniffer.recvfrom(2048)
                    ipv6 = len(packet) > 40 and packet[0] >> 4 == 6
                    solicits = ipv6 and packet[6] == socket.IPPROTO_ICMPV6 and packet[40] == 133
                    if solicits and source[0] == eni.port:
                        break
                print(f"- {time.monotonic() - began:.2f}", flush=True)


PARTS: dict[str, Callable[[Release], None]] = {
    "first-file": first_file,
    "route-table": route_table,
    "reload": reload_and_restart,
    "solicitations": solicitations,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", default=[r.value for r in RELEASES])
    parser.add_argument("--only", choices=PARTS, action="append")
    chosen = parser.parse_args()
    sandbox.enter()
    for part in chosen.only or PARTS:
        for release in chosen.releases:
            try:
                PARTS[part](Release(release))
            except HostError as error:
                print(f"\n{part}, {release}: {error}")


if __name__ == "__main__":
    main()
