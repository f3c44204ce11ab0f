# SPDX-License-Identifier: Apache-2.0
"""The plan's lines about NetworkManager's own state."""

import pytest
from eni_facts import mac

from ec2net.backends.networkmanager.device import Routes
from ec2net.backends.networkmanager.items import Activation
from ec2net.core.model.objects import LinkRef


@pytest.mark.parametrize(
    ("routes", "text"),
    [
        (Routes.NONE, "no connection on ens6"),
        (Routes.MAIN, "connection of ens6 with its leased routes in main"),
        (Routes.PARKED, "connection of ens6 with its leased routes in a table of their own"),
    ],
)
def test_a_plan_shows_the_table_of_the_leased_routes(routes: Routes, text: str) -> None:
    assert Activation(LinkRef(3, "ens6"), mac(1), routes).describe() == text
