# SPDX-License-Identifier: Apache-2.0
"""The NetworkManager backend: NetworkManager leases first addresses, the rest is live changes.

NetworkManager could hold addresses, rules and routes by Reapply. Measured, each such Reapply
removes IPv6 from the link, on 1.42 permanently (docs/networkmanager.md, "Why not Reapply").
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ec2net.core.plugins.api import hookimpl

if TYPE_CHECKING:
    from ec2net.core.plugins.api import Backend


@hookimpl
def ec2net_backends() -> "Sequence[type[Backend]]":
    from ec2net.backends.networkmanager.backend import NetworkManagerBackend

    return (NetworkManagerBackend,)
