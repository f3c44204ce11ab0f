# SPDX-License-Identifier: Apache-2.0
"""The foreign part of a namespace's state, and the part that the kernel removes with a link.

ec2net's objects carry its mark; the kernel creates some for addresses and links of ENIs.
"""

import json
from collections.abc import Collection, Mapping
from ipaddress import ip_interface
from typing import Any

from kernel_state import PROTOCOL, State

_KERNEL = "2"
_LOCAL = "255"
_LINK_SCOPE = "253"
_SHOWN_OF_AN_ENI = ("ifname", "ifalias", "txqlen")


def foreign(
    state: State,
    enis: Collection[str],
    addresses: Collection[tuple[str, str]],
    altnames: Mapping[str, str],
) -> State:
    """All foreign objects. Of ENIs' links only ``addresses`` and ``altnames`` can be foreign."""
    found: State = {"nexthops": state["nexthops"]}
    for version in "46":
        found[f"rules {version}"] = [
            _attached(line) for line in state[f"rules {version}"] if not _ours(line)
        ]
        found[f"routes {version}"] = [
            line
            for line in state[f"routes {version}"]
            if not _ours(line) and not _made_for_an_eni(json.loads(line), enis)
        ]
    found["addresses"] = [
        _without_order(line)
        for line in state["addresses"]
        if line.split()[0] not in enis or _address(line) in addresses
    ]
    links = [json.loads(line) for line in state["links"]]
    found["links"] = [
        _named(link, altnames) if link["ifname"] in altnames else _text(link)
        for link in links
        if link["ifname"] in altnames or link["ifname"] not in enis
    ]
    found["sysctls"] = [line for line in state["sysctls"] if not _set_by_us(line, enis)]
    return found


def without_link(state: State, link: str) -> State:
    """The foreign state after a detach: the kernel removes objects on the link and routes to it."""
    left = {
        subject: [line for line in lines if not _leads_to(json.loads(line), link)]
        for subject, lines in state.items()
        if subject.startswith(("routes", "nexthops"))
    }
    left |= {subject: lines for subject, lines in state.items() if subject.startswith("rules")}
    left["addresses"] = [a for a in state["addresses"] if a.split()[0] != link]
    left["links"] = [line for line in state["links"] if json.loads(line)["ifname"] != link]
    left["sysctls"] = [line for line in state["sysctls"] if f"/{link}/" not in line]
    return left


def is_link(line: str, links: Collection[str]) -> bool:
    """Whether a line of ``addresses`` belongs to one of these links."""
    return line.split()[0] in links


def _ours(line: str) -> bool:
    return bool(json.loads(line).get("protocol") == PROTOCOL)


def _made_for_an_eni(route: dict[str, Any], enis: Collection[str]) -> bool:
    """Created by the kernel: routes of its addresses, and the usual objects of an IPv6 link. A
    subnet's route has no metric; a DHCP client adds that of the primary."""
    if route.get("protocol") != _KERNEL or route.get("dev") not in {*enis, "lo"}:
        return False
    return (
        route["table"] == _LOCAL
        or route["dst"] == "fe80::/64"
        or (route["scope"] == _LINK_SCOPE and "metric" not in route)
    )


def _attached(line: str) -> str:
    """Without the kernel's remark that the link of a rule is not there just now."""
    rule = json.loads(line)
    return _text({k: v for k, v in rule.items() if k not in ("iif_detached", "oif_detached")})


def _address(line: str) -> tuple[str, str]:
    name, _, text = line.partition(" ")
    address = json.loads(text)
    return name, str(ip_interface(f"{address['local']}/{address['prefixlen']}"))


def _without_order(line: str) -> str:
    """The kernel decides which IPv4 address of a subnet is the first on the link."""
    name, _, text = line.partition(" ")
    return f"{name} {_text({k: v for k, v in json.loads(text).items() if k != 'secondary'})}"


def _named(link: dict[str, Any], altnames: Mapping[str, str]) -> str:
    """Settings of an ENI's link that a user made."""
    shown = {key: link[key] for key in _SHOWN_OF_AN_ENI if key in link}
    named = altnames[link["ifname"]] in link.get("altnames", ())
    return _text({**shown, "named": named})


def _set_by_us(line: str, enis: Collection[str]) -> bool:
    """A sysctl of an ENI's link; IPv6's MTU follows the link's."""
    path = line.partition(":")[0].split("/")
    return path[-1] in ("accept_ra", "mtu") and path[-2] in enis


def _leads_to(item: dict[str, Any], link: str) -> bool:
    hops = item.get("nexthops", ())
    return item.get("dev") == link or any(hop.get("dev") == link for hop in hops)


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True)
