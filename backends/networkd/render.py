# SPDX-License-Identifier: Apache-2.0
"""The file of a link: its own .network file, or a drop-in for a foreign one. Pure.

docs/networkd.md explains the settings. KeepConfiguration=yes keeps leases and live addresses
through reloads and restarts. A secondary ENI's DHCP and RA routes go to an unused table, since in
main they would catch the primary's replies. Its own table consists of live routes.
"""

import zlib
from pathlib import Path

from ec2net.backends.networkd.fallback import PATH as FALLBACK
from ec2net.backends.networkd.files import FOLDER, NetworkFile
from ec2net.core.plugins.api import HEADER, DnsDefaultRoute, EarlyIntent, Mac, MtuPolicy

_VENDOR = (Path("/usr/lib/systemd/network"), Path("/lib/systemd/network"))
_ADMIN = Path("/etc/systemd/network")


def own_path(link: str) -> Path:
    return FOLDER / f"70-{link}.network"


def drop_in_path(active: Path) -> Path:
    return FOLDER / f"{active.name}.d" / "50-ec2net.conf"


def place(link: str, active: Path | None) -> Path | None:
    """The path of ec2net's file, by the .network file that is in force now; None: no path.

    With no file, an owned file, or a default (a distribution's, a handover's): ec2net's own file,
    which sorts before it. With a foreign file in /run (netplan, EKS): a drop-in for it. An
    administrator's file in /etc wins.
    """
    if active is None or active in (own_path(link), FALLBACK) or active.parent in _VENDOR:
        return own_path(link)
    if _ADMIN in active.parents:
        return None
    return drop_in_path(active)


def network_file(path: Path, early: EarlyIntent, *, permanent: bool) -> NetworkFile:
    """The whole file at ``path``; ``permanent``: the link has a permanent MAC to match by."""
    link, mac, mtu = early.link.name, early.mac, early.mtu
    sections: dict[str, dict[str, str]] = {}
    if path == own_path(link):
        key = "PermanentMACAddress" if permanent else "MACAddress"
        sections["Match"] = {key: str(mac), "Name": link}
        sections |= _base(early.primary, early.ipv6)
    sections.setdefault("Network", {})["KeepConfiguration"] = "yes"
    if isinstance(mtu, int):
        sections.setdefault("Link", {})["MTUBytes"] = str(mtu)
    dhcp4 = sections.setdefault("DHCPv4", {})
    dhcp4["UseMTU"] = "yes" if mtu is MtuPolicy.DHCP else "no"
    if early.primary:
        routes = {"RouteMetric": str(early.main_metric)}
    else:
        routes = _parked(mac, early.parking_table)
    dhcp4 |= routes
    if early.ipv6:
        sections.setdefault("IPv6AcceptRA", {}).update(routes)
    if early.dns is not DnsDefaultRoute.AUTO:
        sections["Network"]["DNSDefaultRoute"] = early.dns.value
    if early.dns is DnsDefaultRoute.YES:  # there is no route without servers
        for section in ("DHCPv4", *(("DHCPv6", "IPv6AcceptRA") if early.ipv6 else ())):
            sections.setdefault(section, {})["UseDNS"] = "yes"
    lines = [
        f"{HEADER} {link} {mac}",
        "# Override it with a file of its name in /etc/systemd/network.",
    ]
    for section, settings in sections.items():
        lines += ["", f"[{section}]", *(f"{key}={value}" for key, value in settings.items())]
    return NetworkFile(path, "\n".join(lines) + "\n")


def _parked(mac: Mac, table: int) -> dict[str, str]:
    """Routes of one metric and destination would replace each other: the metric is the link's own."""
    metric = 1 + zlib.crc32(mac.text.encode()) % 0x7FFFFFFF
    return {"RouteTable": str(table), "RouteMetric": str(metric)}


def _base(primary: bool, ipv6: bool) -> dict[str, dict[str, str]]:
    """DHCP on both families; DNS, domains and NTP from the primary only (R12)."""
    yes = "yes" if primary else "no"
    sections: dict[str, dict[str, str]] = {}
    if not primary:
        sections["Link"] = {"RequiredForOnline": "no"}  # network-online waits for no secondary
    sections |= {
        "Network": {
            "DHCP": "yes" if ipv6 else "ipv4",
            "LLMNR": "no",
            "IPv6DuplicateAddressDetection": "0",
            "DNSDefaultRoute": yes,
        },
        "DHCPv4": {"UseDNS": yes, "UseDomains": yes, "UseNTP": yes, "UseHostname": "no"},
    }
    if ipv6:
        sections["DHCPv6"] = {
            "UseDNS": yes,
            "UseNTP": yes,
            "UseHostname": "no",
            "WithoutRA": "solicit",
        }
        sections["IPv6AcceptRA"] = {"UseDNS": yes, "UseDomains": "no"}
    else:
        sections["Network"]["IPv6AcceptRA"] = "no"
    return sections
