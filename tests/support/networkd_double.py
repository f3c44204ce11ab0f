# SPDX-License-Identifier: Apache-2.0
"""systemd-networkd in a sandbox: its state files, and a ``networkctl reload`` that leases at once.

It has a link while a file for it is in /run/systemd/network: the link is up and has the leased
addresses. Without the file the link is unmanaged, and its lease ends.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ec2net.core.simulation.vpc.eni import Eni

_SYSTEMD = Path("/run/systemd")
_FILES = _SYSTEMD / "network"
_LINKS = _SYSTEMD / "netif/links"
_LEASES = Path("/run/leases")
_PROGRAMS = Path("/run/programs")

_NETWORKCTL = f"""\
#!/bin/sh
# Its own files name a link each: 70-LINK.network.
set -eu
[ "$1" = reload ]
for lease in {_LEASES}/*; do
    link=${{lease##*/}} file={_FILES}/70-${{lease##*/}}.network
    index=$(ip -o link show "$link" | cut -d: -f1) || continue
    state={_LINKS}/$index
    if [ -e "$file" ]; then
        ip link set "$link" up
        while read -r address; do
            ip addr replace "$address" dev "$link" noprefixroute nodad proto dhcp
        done <"$lease"
        printf 'ADMIN_STATE=configured\\nNETWORK_FILE=%s\\n' "$file" >"$state"
    elif grep -qs NETWORK_FILE "$state"; then
        while read -r address; do ip addr del "$address" dev "$link"; done <"$lease"
        echo ADMIN_STATE=unmanaged >"$state"
    fi
done
"""


@contextmanager
def networkd() -> Iterator[dict[str, str]]:
    """It runs, and has no ENI. Variables for processes that call it."""
    for folder in (_FILES, _LINKS, _SYSTEMD / "units", _LEASES, _PROGRAMS):
        folder.mkdir(parents=True)
    (_SYSTEMD / "units/invocation:systemd-networkd.service").symlink_to("id")
    (_LINKS / "1").write_text("ADMIN_STATE=unmanaged\n")
    program = _PROGRAMS / "networkctl"
    program.write_text(_NETWORKCTL)
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{_PROGRAMS}:{before}"
    try:
        yield {"PATH": f"{_PROGRAMS}:{before}:/usr/sbin:/sbin"}
    finally:
        os.environ["PATH"] = before
        for folder in (_SYSTEMD, _LEASES, _PROGRAMS):
            shutil.rmtree(folder)


def leases(eni: Eni) -> None:
    """Its leases on an ENI's link."""
    assert eni.subnet.ipv4 is not None
    length = eni.subnet.ipv4.prefixlen
    (_LEASES / eni.name).write_text(f"{eni.ipv4s[0]}/{length}\n{eni.ipv6s[0]}/128\n")


def has(index: int) -> None:
    """It has a link by a file of the distribution."""
    file = "/usr/lib/systemd/network/80-host.network"
    (_LINKS / f"{index}").write_text(f"ADMIN_STATE=configured\nNETWORK_FILE={file}\n")


def files() -> dict[str, str]:
    """The files that ec2net wrote for it."""
    return {
        str(path.relative_to(_FILES)): path.read_text()
        for path in _FILES.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
