# SPDX-License-Identifier: Apache-2.0
"""Whether what IMDS calls the primary ENI can be it. Pure.

Everything hangs on that one answer, for the whole boot. So it counts only as long as the ENI's own
keys do not deny it: the primary is listed, as device 0 of card 0.
"""

from ec2net.core.model.facts import EniFacts, Reading, Value
from ec2net.core.model.identity import Mac


def denial(mac: Mac, eni: EniFacts | None, listed: Reading[tuple[Mac, ...]]) -> str:
    """What says that ``mac`` is not the primary; empty if nothing does. ``eni``: if it was read."""
    if isinstance(listed, Value) and mac not in listed.value:
        return "it is not listed"
    if eni is None:
        return ""
    if isinstance(eni.device_number, Value) and eni.device_number.value != 0:
        return f"its device-number is {eni.device_number.value}"
    if isinstance(eni.network_card, Value) and eni.network_card.value != 0:
        return f"its network-card is {eni.network_card.value}"
    return ""
