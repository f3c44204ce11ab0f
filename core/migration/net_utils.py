# SPDX-License-Identifier: Apache-2.0
"""What amazon-ec2-net-utils left on a running host, as steps that take it away: planned, then done.

Nothing but its own is named: the files that its library writes (2.7.4: create_interface_config,
create_rules, create_ipv4_aliases), its udev rule, and the units that this starts. Its lock folder
in /run harms nobody and stays until the next boot.
"""

from collections.abc import Iterator

from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import NET_UTILS_MASK, net_utils_at_work
from ec2net.core.migration.steps import Command, Delete, Mask, Step

FOLDER = "/run/systemd/network"
BASE = "/usr/lib/systemd/network/80-ec2.network"
"""What its file of each link is a symbolic link to."""
DROP_INS = ("eni.conf", "ec2net_policy_4.conf", "ec2net_policy_6.conf", "ec2net_alias.conf")

_SUFFIX = ".network"


def from_net_utils(environment: Environment) -> tuple[Step, ...]:
    """The steps, in their order; none where it left nothing. Done again, they go on where they ended.

    First what would start it again, then what runs, then what that wrote. What it made in the
    kernel is systemd-networkd's, which takes it back when it reads its files again.
    """
    units, rule = net_utils_at_work(environment)
    steps: list[Step] = []
    if rule:
        steps += [Mask(NET_UTILS_MASK), Command(("udevadm", "control", "--reload"))]
    if units:
        # The timers first: one that goes off would start its service again.
        names = sorted(units, key=lambda name: (not name.endswith(".timer"), name))
        steps.append(Command(("systemctl", "disable", "--now", *names)))
    return (*steps, *_files(environment))


def _files(environment: Environment) -> Iterator[Delete]:
    for name in environment.list_folder(FOLDER):
        path = f"{FOLDER}/{name}"
        if name.endswith(f"{_SUFFIX}.d"):
            there = environment.list_folder(path)
            # eni.conf is in each folder of its, and nobody else's files have these names.
            if "eni.conf" in there:
                yield from (Delete(f"{path}/{own}") for own in DROP_INS if own in there)
                if set(there) <= set(DROP_INS):
                    yield Delete(path)
        elif name.endswith(_SUFFIX) and environment.read_link(path) == BASE:
            yield Delete(path)
