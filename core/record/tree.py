# SPDX-License-Identifier: Apache-2.0
"""A tree of IMDS as other tools write it, brought into the form in which ec2net reads IMDS. Pure.

Known forms: what IMDS has below ``/``, below ``latest/``, below ``meta-data/``, the ENIs alone by MAC
address, and cloud-init's instance-data (``/run/cloud-init/instance-data.json``, ``ds.meta_data``; its
EC2 data source makes lists of values with several lines). A MAC address may have capitals, a name may
end in a slash, and a value may be a text, a number or a list.
"""

from collections.abc import Mapping
from typing import Any

from ec2net.core.imds.proof import MACS_PATH
from ec2net.core.model.identity import Mac

_PATH = tuple(MACS_PATH.strip("/").split("/"))
_ROOT, _TO_MACS = _PATH[:2], _PATH[2:]
_ROOTS = (_ROOT, ("meta-data",), (), ("ds", "meta_data"), ("ds", "meta-data"))


def imds_tree(document: Mapping[str, Any]) -> dict[str, Any]:
    """The tree below ``/`` of IMDS. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    whole = _plain(document)
    for root in _ROOTS:
        found = _find(whole, root)
        if isinstance(_find(found, _TO_MACS), dict):
            return _rooted(found)
    if whole and all(_is_mac(name) for name in whole):
        return _rooted({"network": {"interfaces": {"macs": whole}}})
    node: Any = document
    for name in _PATH:  # raises an error that names the wrong position
        node = node[name]
    raise ValueError("it has no ENIs")


def macs_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The ENIs in a tree that ``imds_tree`` made, by MAC address."""
    found: dict[str, Any] = _find(tree, _PATH)
    return found


def _rooted(meta_data: dict[str, Any]) -> dict[str, Any]:
    macs = {
        str(Mac.parse(mac)): keys
        for mac, keys in _find(meta_data, _TO_MACS).items()
        if isinstance(keys, dict) or not keys
    }
    others = {name: value for name, value in meta_data.items() if name != "network"}
    tree = {**others, "network": {"interfaces": {"macs": macs}}}
    if "mac" not in others and (primary := _first(macs)):
        tree["mac"] = primary
    return {"latest": {"meta-data": tree}}


def _first(macs: Mapping[str, Any]) -> str:
    """The ENI with device number 0 of card 0, where the tree does not name the primary."""
    places = {
        mac: (keys.get("network-card", "0"), keys.get("device-number"))
        for mac, keys in macs.items()
        if keys
    }
    found = [mac for mac, place in places.items() if place == ("0", "0")]
    return found[0] if len(found) == 1 else ""


def _plain(node: Any) -> Any:
    """Folders as dicts of names without slashes, values as the text that IMDS would give."""
    if isinstance(node, Mapping):
        named = {str(name).rstrip("/"): _plain(value) for name, value in node.items()}
        return {name: value for name, value in named.items() if value is not None}
    if isinstance(node, list):
        return "\n".join(str(one) for one in node)
    return None if node is None else str(node)


def _find(node: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _is_mac(text: str) -> bool:
    try:
        Mac.parse(text)
    except ValueError:
        return False
    return True
