# SPDX-License-Identifier: Apache-2.0
"""Planned parts of NetworkManager's own state: the table of leased routes, and the MTU. Values."""

from dataclasses import dataclass

from ec2net.backends.networkmanager.device import Routes
from ec2net.core.plugins.api import LinkRef, Mac, Rank


@dataclass(frozen=True, slots=True)
class Activation:
    """The table of an ENI's leased routes: decided when its profile is activated."""

    link: LinkRef
    mac: Mac
    routes: Routes

    rank = Rank.FILE

    @property
    def identity(self) -> tuple[object, ...]:
        return ("activation", self.link.index)

    @property
    def owner(self) -> Mac | None:
        return self.mac

    def describe(self) -> str:
        if self.routes is Routes.NONE:
            return f"no connection on {self.link}"
        where = "main" if self.routes is Routes.MAIN else "a table of their own"
        return f"connection of {self.link} with its leased routes in {where}"


@dataclass(frozen=True, slots=True)
class AppliedMtu:
    """The MTU in the applied connection, which NetworkManager sets whenever it sets anything."""

    link: LinkRef
    mac: Mac
    value: int

    rank = Rank.LINK
    optional = True

    @property
    def identity(self) -> tuple[object, ...]:
        return ("applied mtu", self.link.index)

    @property
    def owner(self) -> Mac | None:
        return self.mac

    def describe(self) -> str:
        return f"MTU {self.value} in the applied connection of {self.link}"
