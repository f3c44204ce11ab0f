# SPDX-License-Identifier: Apache-2.0
"""The tree of IMDS: directories and values, as below ``/latest/meta-data/``.

Categories and spellings after AWS, "Instance metadata categories".
"""

import json
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

from ec2net.core.simulation.vpc.eni import Eni

Tree: TypeAlias = dict[str, "str | Tree"]
"""A directory: names to values or directories. Names have no slashes."""

MACS = "network/interfaces/macs"

_OWNER = "111122223333"

UNSETTLED_DEVICE_NUMBER = "0"
"""The value of ``device-number`` for a new ENI until the attachment has propagated."""


def find(tree: Tree, path: str) -> "str | Tree | None":
    """The value or directory at ``path`` (no leading or trailing slash; empty: the root)."""
    node: str | Tree = tree
    for name in path.split("/") if path else ():
        if isinstance(node, str) or name not in node:
            return None
        node = node[name]
    return node


def put(tree: Tree, path: str, value: "str | Tree") -> None:
    """Set what is at ``path``, making the directories on the way."""
    *directories, last = path.split("/")
    for name in directories:
        below = tree.setdefault(name, {})
        if isinstance(below, str):
            raise ValueError(  # noqa: TRY004 - the path is wrong, not a type
                f"{name} in {path} is a value, not a directory"
            )
        tree = below
    tree[last] = value


def remove(tree: Tree, path: str) -> None:
    """Remove what is at ``path``, if anything, and directories that are empty then."""
    name, _, rest = path.partition("/")
    below = tree.get(name)
    if rest and isinstance(below, dict):
        remove(below, rest)
        if below:
            return
    tree.pop(name, None)


def listing(directory: Tree) -> list[str]:
    """The lines that IMDS gives for a directory: directories with a trailing slash."""
    return [f"{name}/" if isinstance(directory[name], dict) else name for name in sorted(directory)]


def copy(tree: Tree) -> Tree:
    """A copy that shares no directory."""
    return {name: copy(node) if isinstance(node, dict) else node for name, node in tree.items()}


def instance_tree(primary: Eni, instance_id: str) -> Tree:
    """The tree of an instance outside ``network/``."""
    hostname = _hostname(primary, instance_id)
    tree: Tree = {
        "ami-id": "ami-0ec2000000000000a",
        "hostname": hostname,
        "instance-id": instance_id,
        "instance-type": "m7i.large",
        "local-hostname": hostname,
        "mac": str(primary.mac),
        "placement": {"availability-zone": "us-east-1a", "region": "us-east-1"},
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if primary.ipv4s:
        tree["local-ipv4"] = str(primary.ipv4s[0])
    if primary.ipv6s:
        tree["ipv6"] = str(primary.ipv6s[0])
    return tree


def dynamic_tree(tree: Tree) -> Tree:
    """The tree below ``/latest/dynamic/`` of an instance whose metadata are ``tree``: the identity
    document, without signatures. Empty without an instance id."""
    if "instance-id" not in tree:
        return {}
    placement = tree.get("placement", {})
    place = {} if isinstance(placement, str) else placement
    document = {
        "accountId": _OWNER,
        "architecture": "x86_64",
        "availabilityZone": place.get("availability-zone"),
        "imageId": tree.get("ami-id"),
        "instanceId": tree["instance-id"],
        "instanceType": tree.get("instance-type"),
        "privateIp": tree.get("local-ipv4"),
        "region": place.get("region"),
        "version": "2017-09-30",
    }
    return {"instance-identity": {"document": json.dumps(document, indent=2)}}


def eni_tree(
    eni: Eni,
    *,
    instance_id: str,
    vpc_ipv4: Iterable[IPv4Network],
    vpc_ipv6: Iterable[IPv6Network],
    several_cards: bool,
) -> Tree:
    """The tree under the ENI's MAC. Keys without a value are missing, as on EC2.

    ``network-card`` exists on instance types with several network cards only.
    """
    ipv4_blocks = list(vpc_ipv4)
    values: dict[str, Iterable[object]] = {
        "device-number": [eni.device],
        "interface-id": [eni.eni_id],
        "ipv4-prefix": eni.ipv4_prefixes,
        "ipv6-prefix": eni.ipv6_prefixes,
        "ipv6s": eni.ipv6s,
        "local-hostname": [_hostname(eni, instance_id)] if eni.addresses() else [],
        "local-ipv4s": eni.ipv4s,
        "mac": [eni.mac],
        "network-card": [eni.card] if several_cards else [],
        "owner-id": [_OWNER],
        "security-group-ids": ["sg-0ec2000000000000b"],
        "security-groups": ["default"],
        "subnet-id": [eni.subnet.subnet_id],
        "subnet-ipv4-cidr-block": filter(None, [eni.subnet.ipv4]),
        "subnet-ipv6-cidr-blocks": filter(None, [eni.subnet.ipv6]),
        "vpc-id": ["vpc-0ec2000000000000c"],
        "vpc-ipv4-cidr-block": ipv4_blocks[:1],
        "vpc-ipv4-cidr-blocks": ipv4_blocks,
        "vpc-ipv6-cidr-blocks": vpc_ipv6,
    }
    texts = {key: "\n".join(map(str, several)) for key, several in values.items()}
    return {key: text for key, text in texts.items() if text}


def _hostname(eni: Eni, instance_id: str) -> str:
    if eni.ipv4s:
        return f"ip-{str(eni.ipv4s[0]).replace('.', '-')}.ec2.internal"
    return f"{instance_id}.ec2.internal"
