# SPDX-License-Identifier: Apache-2.0
"""Whether IMDS's primary ENI is plausible. Pure.

All decisions of this boot depend on that one answer. It is valid only while the ENI's own keys
agree: the primary is listed, as device 0 of card 0.
"""

from ec2net.core.model.facts import EniFacts, Reading, Value
from ec2net.core.model.identity import Mac


def denial(mac: Mac, eni: EniFacts | None, listed: Reading[tuple[Mac, ...]]) -> str:
    """The reason why ``mac`` is not the primary; empty if there is none. ``eni``: if it was read."""
    if isinstance(listed, Value) and mac not in listed.value:
        return "it is not listed"
    if eni is None:
        return ""
    if isinstance(eni.device_number, Value) and eni.device_number.value != 0:
        return f"its device-number is {eni.device_number.value}"
    if isinstance(eni.network_card, Value) and eni.network_card.value != 0:
        return f"its network-card is {eni.network_card.value}"
    return ""
