# SPDX-License-Identifier: Apache-2.0
"""Foreign files on a host, in the folders where network managers and ec2net have theirs."""

import random
from collections.abc import Sequence

from kernel_state import lacking
from lab_instance import LabInstance

_KEYFILE = """\
[connection]
id=mine{number}
type=ethernet
interface-name=other{number}

[ipv4]
method=manual
address1=192.0.2.{number}/24
routing-rule1=priority 5 from 192.0.2.{number} table 5

[user]
org.example.note={note}
"""

_PATTERNS = {
    "/etc/systemd/network/10-mine{number}.network": "[Match]\nName=other{number}\n# {note}\n",
    "/etc/systemd/network/10-mine{number}.link": "[Match]\nOriginalName=other{number}\n# {note}\n",
    # Named like ec2net's files.
    "/run/systemd/network/70-other{number}.network": "[Match]\nName=other{number}\n# {note}\n",
    "/run/systemd/network/70-other{number}.network.d/60-mine.conf": "# {note}\n",
    "/run/systemd/network/95-mine{number}.network.d/50-mine.conf": "# {note}\n",
    "/etc/systemd/networkd.conf.d/90-mine{number}.conf": "# {note}\n",
    "/etc/NetworkManager/conf.d/90-mine{number}.conf": "# {note}\n",
    "/run/NetworkManager/conf.d/81-mine{number}.conf": "# {note}\n",
    "/etc/NetworkManager/system-connections/mine{number}.nmconnection": _KEYFILE,
    "/etc/ec2net-mine/{number}": "{note}\n",
    "/run/ec2net-mine/{number}": "{note}\n",
}

_OTHERS_ALONE = ("/etc/systemd/network", "/etc/systemd/networkd.conf.d", "/etc/NetworkManager")
"""Folders where neither ec2net nor a network manager writes: any new file is wrong."""

_STAT = r"%p %m %U %i %s %T@\n"


class ForeignFiles:
    """Contents of the foreign files; each file is to stay unchanged, its times and inode too."""

    def __init__(self, instance: LabInstance, chance: random.Random) -> None:
        self._instance = instance
        self._chance = chance
        self.paths: list[str] = []
        self._expected: list[str] = []
        self._number = 0

    def write(self) -> None:
        """Some more, everywhere."""
        self._number += 1
        for pattern, text in _PATTERNS.items():
            path = pattern.format(number=self._number)
            note = f"{self._chance.getrandbits(64):x}"
            self._instance.host.write(path, text.format(number=self._number, note=note))
            self.paths.append(path)
            if path.endswith(".nmconnection"):
                self._instance.host.run(["chmod", "600", path])
        if self._instance.setting.backend == "networkmanager":
            self._add_by_nmcli()
        self._expected = self._seen()

    def _add_by_nmcli(self) -> None:
        host, name = self._instance.host, f"nmcli{self._number}"
        host.run(["nmcli", "connection", "load", *self._paths_of_profiles()])
        add = f"connection add type dummy ifname {name} con-name {name} autoconnect no"
        address = f"ipv4.method manual ipv4.addresses 198.51.100.{self._number}/24"
        host.run(["nmcli", *add.split(), *address.split()])

    def _paths_of_profiles(self) -> list[str]:
        return [path for path in self.paths if path.endswith(".nmconnection")]

    def check(self, story: Sequence[str]) -> None:
        """Assert that the foreign files are unchanged; ``story`` is for the message."""
        seen = self._seen()
        found = [f"- {line}" for line in lacking(self._expected, seen)]
        found += [f"+ {line}" for line in lacking(seen, self._expected)]
        assert not found, "\n".join([*story, *found])

    def _seen(self) -> list[str]:
        """Contents and metadata of the files, and nmcli's list of the profiles."""
        files = " ".join(self.paths)
        script = (
            f"find {' '.join(_OTHERS_ALONE)} {files} -printf '{_STAT}' | sort -u; cat {files}; "
        )
        if self._instance.setting.backend == "networkmanager":
            script += "cat /etc/NetworkManager/system-connections/nmcli*; "
            for number in range(1, self._number + 1):
                script += (
                    f"nmcli connection show mine{number}; nmcli connection show nmcli{number};"
                )
        # A deleted file is missing from the output.
        return self._instance.host.run(["sh", "-c", script], check=False).stdout.splitlines()
