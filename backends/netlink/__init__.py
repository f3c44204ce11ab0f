# SPDX-License-Identifier: Apache-2.0
"""The netlink backend: realizes intents by rtnetlink alone, on hosts without a network manager."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ec2net.core.plugins.api import hookimpl

if TYPE_CHECKING:
    from ec2net.core.plugins.api import Backend


@hookimpl
def ec2net_backends() -> "Sequence[type[Backend]]":
    from ec2net.backends.netlink.backend import NetlinkBackend

    return (NetlinkBackend,)
