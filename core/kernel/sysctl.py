# SPDX-License-Identifier: Apache-2.0
"""Sysctls per link: net.ipv6.conf.LINK.accept_ra is the only one that is ever set, and only on
managed links; net.ipv4.conf.LINK.promote_secondaries is for the moment of a removal.

rtnetlink cannot set them. The names come from the kernel's own dump.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NET = Path("/proc/sys/net")
_CONF = _NET / "ipv6/conf"
_IPV4_CONF = _NET / "ipv4/conf"


def read_accept_ra(link: str) -> int | None:
    """Its value (0, 1 or 2); None where IPv6 is off or the link is gone."""
    return read_number("ipv6/conf/LINK/accept_ra", link)


def has_ipv6(link: str) -> bool:
    """False only on evidence: disable_ipv6 is set, or the link is known to IPv4 and not to IPv6.

    The latter is so below an MTU of 1280, and everywhere with ipv6.disable=1.
    """
    try:
        return (_CONF / link / "disable_ipv6").read_text().strip() != "1"
    except OSError:
        return not (_IPV4_CONF / link).is_dir()


def is_off_by_mtu(link: str) -> bool:
    """Whether IPv6, which is not on the link, would come with a larger MTU."""
    missing = not (_CONF / link).is_dir() and (_IPV4_CONF / link).is_dir()
    return missing and read_number("ipv6/conf/default/disable_ipv6") == 0


def read_number(name: str, link: str = "") -> int | None:
    """A sysctl below net; ``link`` takes the place of ``LINK`` in ``ipv4/conf/LINK/rp_filter``.

    None for what is not there, and for what is no number.
    """
    try:
        return int((_NET / name.replace("LINK", link)).read_text())
    except (OSError, ValueError):
        return None


def write_accept_ra(link: str, value: int) -> None:
    """Raises ``OSError``."""
    (_CONF / link / "accept_ra").write_text(f"{value}\n")


@contextmanager
def keeping_secondaries(link: str) -> Iterator[None]:
    """While an IPv4 address is removed, later addresses of its subnet stay.

    By default the kernel removes them with it, foreign ones included; systemd (50-default.conf)
    keeps them. No effect if the sysctl is read-only or the link is gone. The kernel still removes
    routes that name the address as their source. With a link's last IPv4 address it removes all
    IPv4 routes of the link.
    """
    path = _IPV4_CONF / link / "promote_secondaries"
    try:
        before = path.read_text()
        if before.strip() == "0":
            path.write_text("1\n")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        if before.strip() == "0":
            with suppress(OSError):
                path.write_text(before)
