# SPDX-License-Identifier: Apache-2.0
"""Remarks of a handover's plan: settings that are not taken over, and tools that may undo it. Pure."""

import os
import re
from collections.abc import Iterator

from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import interfaces_stanzas
from ec2net.core.migration import units
from ec2net.core.migration.host import Host
from ec2net.core.migration.resolv_conf import ASIDE, PATH, Kept, Kind

_PROFILES = ("/etc/NetworkManager/system-connections", "/run/NetworkManager/system-connections")
_CLOUD = "/etc/cloud/cloud.cfg"
_NO_NETWORK = re.compile(r"^\s*network:\s*(?:\n\s+|\{\s*)config:\s*disabled", re.MULTILINE)
_RENDERER = re.compile(r"^\s*renderer:\s*NetworkManager\b", re.MULTILINE)


def remarks(environment: Environment) -> tuple[str, ...]:
    """One line each."""
    present = units.links(environment)
    found: list[str] = []
    active = environment.unit_is_active(units.NETWORKMANAGER)
    if active or units.is_wanted(units.NETWORKMANAGER, present):
        found += _of_profiles(environment)
    active = environment.unit_is_active(units.NETWORKING)
    if active or units.is_wanted(units.NETWORKING, present):
        found += _of_interfaces(environment)
    found += _of_cloud_init(environment)
    found += _of_netplan(environment)
    if os.geteuid() != 0:
        found.append("only root sees DHCP clients: this plan may lack the steps that end them")
    return tuple(found)


def of_undoing(host: Host) -> tuple[str, ...]:
    """Files that stay, since a user has changed them meanwhile."""
    resolv_conf = host.resolv_conf
    if resolv_conf.aside is Kept.ANOTHER and resolv_conf.kind is Kind.OTHER:
        return (
            f"{PATH} was changed after the adoption and stays; its former content is in {ASIDE}",
        )
    return ()


def _of_profiles(environment: Environment) -> Iterator[str]:
    for folder in _PROFILES:
        for name in environment.list_folder(folder):
            keys = environment.keys(f"{folder}/{name}")
            kind, link = keys.get("type", "ethernet"), keys.get("interface-name", name)
            if kind == "loopback":
                continue
            if kind not in ("ethernet", "802-3-ethernet"):
                yield f"{folder}/{name}: from the next boot on, nothing brings {link} ({kind}) up"
            elif "manual" in (environment.read_file(f"{folder}/{name}") or ""):
                yield f"{folder}/{name}: its static addresses are not taken over"


def _of_interfaces(environment: Environment) -> Iterator[str]:
    enis = environment.eni_names
    for path, name, method in interfaces_stanzas(environment):
        if name in enis and method == "static":
            yield f"{path}: the static addresses of {name} are not taken over"
        elif name not in enis and name != "lo":
            yield f"{path}: from the next boot on, nothing brings {name} up"


def _of_cloud_init(environment: Environment) -> Iterator[str]:
    if environment.read_file(_CLOUD) is None:
        return
    if environment.read_file("/etc/cloud/cloud-init.disabled") is not None:
        return
    folder = f"{_CLOUD}.d"
    paths = (_CLOUD, *(f"{folder}/{name}" for name in environment.list_folder(folder)))
    if any(_NO_NETWORK.search(environment.read_file(path) or "") for path in paths):
        return
    yield (
        "at the first boot of an instance, cloud-init configures the network manager that it "
        f"finds; a file in {folder} with 'network: {{config: disabled}}' prevents this"
    )


def _of_netplan(environment: Environment) -> Iterator[str]:
    for name in environment.list_folder("/etc/netplan"):
        path = f"/etc/netplan/{name}"
        if _RENDERER.search(environment.read_file(path) or ""):
            yield (
                f"{path} names NetworkManager: write 'renderer: networkd' there, or netplan "
                "does nothing"
            )
