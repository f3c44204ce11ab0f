# SPDX-License-Identifier: Apache-2.0
"""Sysctls per link: net.ipv6.conf.LINK.accept_ra is the only one that is ever written, and only
on managed links.

rtnetlink cannot set it. The names come from the kernel's own dump.
"""

from pathlib import Path

_NET = Path("/proc/sys/net")
_CONF = _NET / "ipv6/conf"
_IPV4_CONF = _NET / "ipv4/conf"


def read_accept_ra(link: str) -> int | None:
    """Its value (0, 1 or 2); None where IPv6 is off or the link is gone."""
    try:
        return int((_CONF / link / "accept_ra").read_text())
    except (OSError, ValueError):
        return None


def has_ipv6(link: str) -> bool:
    """False only on evidence: disable_ipv6 is set, or the link is known to IPv4 and not to IPv6.

    The latter is so below an MTU of 1280, and everywhere with ipv6.disable=1.
    """
    try:
        return (_CONF / link / "disable_ipv6").read_text().strip() != "1"
    except OSError:
        return not (_IPV4_CONF / link).is_dir()


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
