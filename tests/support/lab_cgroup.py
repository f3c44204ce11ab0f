# SPDX-License-Identifier: Apache-2.0
"""A control group for each booted host, so that two hosts (and the machine) never share one.

A booted systemd takes over the group in which systemd-nspawn was started. The group's guardian ends
all processes in the group and removes it, on request or when the creating process has ended: the
processes of systemd-nspawn outlive it. The next start removes a group without a guardian.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_NAME = re.compile(r"ec2net-lab-(\d+)-\d+$")

_END = """\
for _ in $(seq 100); do
    processes=$(find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null)
    [ -n "$processes" ] || break
    kill -KILL $processes 2>/dev/null
    sleep 0.05
done
find "$@" -depth -type d -exec rmdir {} + 2>/dev/null
exit 0
"""
_GUARD = f"read -r _\n{_END}"
_JOIN = """\
until [ "$1" = -- ]; do
    echo $$ >"$1/cgroup.procs" || exit
    shift
done
shift
exec "$@"
"""
_LIMIT = 30.0


class ControlGroup:
    """One group in each hierarchy that systemd uses: ``name=systemd`` and cgroup2."""

    _made = 0

    def __init__(self) -> None:
        sweep()
        ControlGroup._made += 1
        name = f"ec2net-lab-{os.getpid()}-{ControlGroup._made}"
        self.paths = [parent / name for parent in _parents()]
        for path in self.paths:
            path.mkdir()
        self._guardian = subprocess.Popen(
            ["sh", "-c", _GUARD, "guardian", *self.paths],
            stdin=subprocess.PIPE,  # ends with this process, however that ends
            start_new_session=True,
        )

    def joining(self, command: Sequence[str]) -> list[str]:
        """``command``, run in the group."""
        return ["sh", "-c", _JOIN, "join", *map(str, self.paths), "--", *command]

    def remove(self) -> None:
        """End the remaining processes of the group, and remove it."""
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        self._guardian.wait(_LIMIT)


def sweep() -> None:
    """End and remove the groups of processes that are gone."""
    for parent in _parents():
        for path in parent.iterdir():
            found = _NAME.match(path.name)
            if found and not Path("/proc", found[1]).exists():
                subprocess.run(["sh", "-c", _END, "sweep", path], check=True, timeout=_LIMIT)


def _parents() -> Iterator[Path]:
    """This process's own groups, as mounted: ``name=systemd`` of version 1, and version 2."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, options = line.split()[:4]
        if kind == "cgroup2" and "" in own:
            yield Path(mounted, own[""].lstrip("/"))
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            yield Path(mounted, own["name=systemd"].lstrip("/"))
