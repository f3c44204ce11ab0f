# SPDX-License-Identifier: Apache-2.0
"""With the same facts the kernel gives the same answers for every backend, on every release."""

import json
from typing import TypeAlias

import pytest
from lab_boot import Boot
from lab_instance import MANY, LabInstance

pytestmark = pytest.mark.lab

Answers: TypeAlias = dict[str, str]

_first: dict[str, Answers] = {}
"""The answers of the first setting, and its name."""

NETLINK = 'backend = "netlink"\n'


def answers(instance: LabInstance) -> Answers:
    """The route from each address to each of many destinations, the addresses, the MTUs."""
    found: Answers = {}
    for eni in instance.vpc.enis:
        for source in eni.addresses():
            for destination in destinations(instance, source.version):
                way = instance.host.ip("route", "get", destination, "from", str(source))[0]
                gateway = way.get("gateway", way.get("via", {}).get("host", "on-link"))
                found[f"{source} to {destination}"] = f"{way['dev']} {gateway}"
        shown = instance.host.ip("addr", "show", "dev", eni.name, "scope", "global")
        info = next(entry for entry in shown if entry)["addr_info"]
        held = sorted(f"{a['local']}/{a['prefixlen']}" for a in info if a)
        found[f"addresses of {eni.name}"] = " ".join(held)
        link = instance.host.ip("link", "show", eni.name)[0]
        found[f"link {eni.name}"] = json.dumps(
            [link["mtu"], sorted(link["altnames"]), link["group"]]
        )
    return found


def destinations(instance: LabInstance, version: int) -> list[str]:
    """A host abroad, IMDS, a neighbour in each subnet, a container."""
    if version == 6:
        return [
            *("2001:db8:ffff::1", "fd00:ec2::254", "2001:db8:9::9"),
            *(str(subnet.ipv6[0x99]) for subnet in instance.vpc.subnets if subnet.ipv6),
        ]
    return [
        *("198.51.100.1", "169.254.169.254", "169.254.169.253", "172.17.0.2"),
        *(str(subnet.ipv4[99]) for subnet in instance.vpc.subnets if subnet.ipv4),
    ]


def test_all_backends_give_the_same_answers(boot: Boot) -> None:
    """Two secondaries with every kind of address, one of them on the second card, and a container
    bridge; each host also with the netlink backend, after a change of backend."""

    def enis(instance: LabInstance) -> None:
        instance.vpc.cards = 2
        instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        instance.vpc.attach(instance.two, **MANY)
        instance.vpc.attach(instance.one, card=1, device=1, ipv4=2, ipv6=2)

    with boot(before=enis) as instance:
        instance.vpc.guest.ip(
            [
                *("link add docker0 type bridge", "link set docker0 up"),
                *("addr add 172.17.0.1/16 dev docker0", "addr add 2001:db8:9::1/64 dev docker0"),
            ]
        )
        instance.refresh()
        given = answers(instance)
        assert len(given) > 70
        name, expected = next(iter(_first.items()), (str(instance.setting), given))
        _first.setdefault(name, given)
        assert given == expected, f"{instance.setting} and {name}"
        instance.host.write("/etc/ec2net/ec2net.toml.d/30-backend.toml", NETLINK)
        instance.reconfigure()
        status = json.loads(instance.host.ec2net("status", "--json").stdout)
        assert {eni["backend"] for eni in status["enis"]} == {"netlink"}
        assert answers(instance) == expected, f"netlink on {instance.setting} and {name}"
