# SPDX-License-Identifier: Apache-2.0
"""The route of a packet, by routing mode, source and destination: the table of docs/routing.md.

With ``EC2NET_WRITE=1`` the test writes the measured routes into the document.
"""

import os
from collections.abc import Iterator

import pytest
from containers import docker0
from instance import Instance, primary, subnets
from ways import DOCUMENT, STATIC, TUNNEL, destinations, document, measured

pytestmark = pytest.mark.netns

MODES = ("main-first", "strict", "off")


def table(instance: Instance) -> Iterator[str]:
    vpc = instance.vpc
    where = subnets(vpc, 3)
    main = primary(vpc, where[0], ipv4=2, ipv6=2)
    second, third = (vpc.attach(subnet, ipv4=2, ipv6=2) for subnet in where[1:])
    vpc.guest.ip([f"link set {second.name} up", *TUNNEL])
    with docker0(vpc) as container:
        vpc.guest.ip(STATIC)
        rows = destinations(vpc, (main, second, third), container)
        of_main, of_second = {}, {}
        for mode in MODES:
            instance.configure(f'routing = "{mode}"\n')
            instance.ec2net("refresh")
            of_main[mode], of_second[mode] = measured(vpc, (main, second), rows)
    assert of_main["main-first"] == of_main["strict"]
    modes = " | ".join(f"`{mode}`" for mode in MODES)
    yield f"| to | from ens6, {modes} | from ens5 | from ens5, `off` |"
    yield "| --- |" + " --- |" * (len(MODES) + 2)
    for to in rows:
        ways = [*(of_second[mode][to.name] for mode in MODES), of_main["main-first"][to.name]]
        ways.append(of_main["off"][to.name])
        yield f"| {to.name} | {' | '.join(ways)} |"


def test_the_routes_match_the_document(instance: Instance) -> None:
    before, told, after = document()
    found = "".join(f"{line}\n" for line in table(instance))
    if os.environ.get("EC2NET_WRITE"):
        DOCUMENT.write_text(f"{before}{found}{after}")
    else:
        assert told == found, "EC2NET_WRITE=1 writes what was measured"
