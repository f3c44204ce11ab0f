# SPDX-License-Identifier: Apache-2.0
"""A root file system that knew other ENIs: an image of a configured host, or a host with a new set."""

import pytest
from lab_boot import Boot, rules_and_routes
from lab_instance import MANY, LabInstance

from ec2net.core.simulation.vpc.eni import Eni

# ``make test`` has what a reboot forgets in test_lab_boot.py.
pytestmark = [pytest.mark.lab, pytest.mark.exhaustive]

FOLDERS = ("/etc", "/run/ec2net", "/run/systemd/network", "/run/NetworkManager/conf.d", "/var/lib")


def attach_two(instance: LabInstance) -> None:
    """A primary and a secondary, always under the same names."""
    instance.vpc.attach(instance.one, "ens5", device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, "ens6", **MANY)


def exchange(instance: LabInstance) -> list[Eni]:
    """Two other ENIs in the place of those that are there; the former ones."""
    former = [*instance.vpc.enis]
    for eni in former:
        instance.vpc.detach(eni)
    attach_two(instance)
    return former


def second_pair(instance: LabInstance) -> None:
    """The ENIs that a host gets by ``exchange``, from the start."""
    attach_two(instance)
    exchange(instance)


def settled(instance: LabInstance) -> dict[str, list[str]]:
    """The kernel's state after the last event."""
    instance.complete()
    instance.until_at_rest()
    instance.refresh()
    assert instance.refresh() == ""
    return instance.kernel()


def routing(state: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rules and routes, without the ways to the links' own addresses: NetworkManager makes a link's
    local address with a secret of the host."""
    return {
        subject: sorted(line for line in lines if '"dst": "fe80::' not in line)
        for subject, lines in rules_and_routes(state).items()
    }


def named(instance: LabInstance, enis: list[Eni]) -> list[str]:
    """Files that name one of these ENIs by its MAC, its id or an address."""
    words = [f"{one}" for eni in enis for one in (eni.mac, eni.eni_id, *eni.addresses())]
    patterns = [argument for word in words for argument in ("-e", word)]
    # A log or a lease of the network manager is not ec2net's.
    left_out = ["--exclude-dir=NetworkManager", "--exclude-dir=dhcp"]
    found = instance.host.run(["grep", "-rlsFw", *left_out, *patterns, *FOLDERS], check=False)
    return found.stdout.splitlines()


def test_an_image_of_a_configured_host_is_as_a_fresh_host(boot: Boot) -> None:
    """Its ENIs have the former names, other MACs and other addresses."""
    former: list[Eni] = []
    with boot(before=attach_two) as image:
        settled(image)
        assert named(image, [*image.vpc.enis])
        image.host.reboot(lambda: former.extend(exchange(image)))
        image.host.run(["systemctl", "stop", "ec2net-refresh.timer"])
        found = settled(image)
        assert named(image, former) == []
        assert image.unreachable() == []
        kept = {name for name in image.files() if name.endswith((".network", ".conf", ".json"))}
    with boot(before=second_pair) as fresh:
        assert routing(settled(fresh)) == routing(found)
        files = {name for name in fresh.files() if name.endswith((".network", ".conf", ".json"))}
        assert kept == files
