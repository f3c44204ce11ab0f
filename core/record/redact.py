# SPDX-License-Identifier: Apache-2.0
"""Replace MAC addresses and ENI ids in a text, each by the same substitute throughout. Pure.

Substitutes keep the order of the originals, so decisions by that order stay the same. IP addresses
stay, since rules and routes consist of them.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

_MAC = re.compile(r"(?<![0-9a-f:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?!:?[0-9a-f])", re.IGNORECASE)
_ENI_ID = re.compile(r"\beni-[0-9a-f]{8,17}\b")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*(?!\w|:|\.\d)", re.IGNORECASE)

_NOBODY = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
_INTERFACE_ID = (1 << 64) - 1


def redacted(text: str) -> str:
    """``text`` without them; also not as part of a link's name, or of an IPv6 address (EUI-64)."""
    macs = _numbered(
        (mac.lower() for mac in _MAC.findall(text) if mac.lower() not in _NOBODY),
        lambda n: f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}",
    )
    ids = _numbered(_ENI_ID.findall(text), lambda n: f"eni-{n:017x}")
    interface_ids = {_eui64(mac): _eui64(other) for mac, other in macs.items()}
    text = _IPV6.sub(lambda match: _address(match[0], interface_ids), text)
    text = _MAC.sub(lambda match: macs.get(match[0].lower(), match[0]), text)
    text = _ENI_ID.sub(lambda match: ids[match[0]], text)
    for mac, other in macs.items():
        text = text.replace(mac.replace(":", ""), other.replace(":", ""))
    return text


def _numbered(found: Iterable[str], name: Callable[[int], str]) -> dict[str, str]:
    return {old: name(number) for number, old in enumerate(sorted(set(found)), 1)}


def _eui64(mac: str) -> int:
    """The interface id that a link makes of its MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return int.from_bytes(bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:])


def _address(text: str, interface_ids: dict[int, int]) -> str:
    try:
        number = int(IPv6Address(text))
    except ValueError:
        return text
    other = interface_ids.get(number & _INTERFACE_ID)
    return text if other is None else str(IPv6Address((number & ~_INTERFACE_ID) | other))
