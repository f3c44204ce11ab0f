# SPDX-License-Identifier: Apache-2.0
"""The foreign state of a host: rules, routes, links, addresses, nftables, files."""

import json
from collections.abc import Iterable

from foreign_view import foreign
from kernel_state import State, differences, kernel_state
from lab_host import LabHost
from lab_instance import COMPLETE_LIMIT, LabInstance
from lab_reach import until_reached

FOLDERS = ("/etc", "/run/systemd/network", "/run/NetworkManager/conf.d")

_OF_A_LEASE = ("2", "9", "16")
"""Routes of the kernel, of a router advertisement and of DHCP: on an ENI, ec2net's files for the network
manager may decide about them."""


def foreign_state(instance: LabInstance) -> State:
    """Everything foreign that can be compared: not the leases of ENIs."""
    enis = [eni.name for eni in instance.vpc.enis]
    state = foreign(kernel_state(instance.vpc.guest), enis, (), {})
    for version in "46":
        lines = state[f"routes {version}"]
        state[f"routes {version}"] = [line for line in lines if not _leased(line, enis)]
    settings = state["sysctls"]
    state["sysctls"] = [s for s in settings if not any(f"/{name}/" in s for name in enis)]
    state["nftables"] = instance.host.run(
        ["nft", "--stateless", "list", "ruleset"]
    ).stdout.splitlines()
    state["files"] = foreign_files(instance.host, FOLDERS)
    return state


def _leased(line: str, enis: Iterable[str]) -> bool:
    route = json.loads(line)
    return route.get("dev") in enis and route.get("protocol") in _OF_A_LEASE


def foreign_files(host: LabHost, folders: Iterable[str]) -> list[str]:
    """Files and symbolic links, with mode and digest; ec2net's own have its name, or name it."""
    find = f"find {' '.join(folders)} -not -path '*ec2net*'"
    script = (
        rf"{find} -type l -printf '%p -> %l\n';"
        rf" {find} -type f -exec grep -L ec2net {{}} + | xargs -rd '\n' stat -c '%n %a %U';"
        rf" {find} -type f -exec grep -L ec2net {{}} + | xargs -rd '\n' md5sum"
    )
    return sorted(host.run(["sh", "-c", script], check=False).stdout.splitlines())


def changed_by_ec2net(instance: LabInstance, *, remove: bool = True) -> list[str]:
    """Foreign things that change when ec2net ends and is removed from every secondary ENI, or when it
    configures them again."""
    host = instance.host
    present = {link["ifname"] for link in host.ip("link")}
    enis = [eni for eni in instance.vpc.enis if eni.name in present]
    before = foreign_state(instance)
    host.run(["systemctl", "stop", "ec2net.service"], timeout=120)
    for eni in enis[1:] if remove else ():
        host.ec2net("remove", eni.name)
    found = [f"removed: {line}" for line in differences(before, foreign_state(instance))]
    host.run(["systemctl", "reset-failed", "ec2net.service"], check=False)
    host.run(["systemctl", "start", "ec2net.service"], timeout=120)
    for eni in enis:
        instance.until_unit(eni.name, "active")
    until_reached(instance, COMPLETE_LIMIT, *enis)
    return found + [f"again: {line}" for line in differences(before, foreign_state(instance))]
