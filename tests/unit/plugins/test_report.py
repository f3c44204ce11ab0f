# SPDX-License-Identifier: Apache-2.0
"""The counts of a report."""

from ipaddress import ip_interface

from eni_facts import eni, host, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.model.objects import Address
from ec2net.core.model.snapshot import Found, Snapshot
from ec2net.core.plugins.report import addresses_there

HOST = compute(host(eni(0), eni(1)), Config())


def test_foreign_addresses_count_on_the_link_of_their_eni() -> None:
    """``status`` prints the number: an address of another ENI, or one on another link, does not
    count."""
    first, second = (intent.link for intent in HOST.ready)
    found = (
        Address(first, ip_interface("10.0.0.4/24")),
        Address(first, ip_interface("10.0.1.4/32")),  # the second one's, on a wrong link
        Address(second, ip_interface("10.0.1.9/20")),
        Address(second, ip_interface("2001:db8:0:1::4/64")),
        Address(second, ip_interface("192.0.2.1/24")),
    )
    snapshot = Snapshot(addresses=tuple(Found(address, 16) for address in found))
    assert addresses_there(HOST, snapshot) == {mac(0): 1, mac(1): 2}
