# SPDX-License-Identifier: Apache-2.0
"""The networkd backend: systemd-networkd brings up the base of each ENI, the rest is live changes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ec2net.core.plugins.api import hookimpl

if TYPE_CHECKING:
    from ec2net.core.plugins.api import Backend


@hookimpl
def ec2net_backends() -> "Sequence[type[Backend]]":
    from ec2net.backends.networkd.backend import NetworkdBackend

    return (NetworkdBackend,)
