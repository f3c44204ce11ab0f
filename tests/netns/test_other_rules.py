# SPDX-License-Identifier: Apache-2.0
"""Rules and tables of the programs in docs/routing.md, as each makes them, and what ec2net reports."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from instance import MANY, Instance, two_enis
from manager import managed

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]


@dataclass(frozen=True, slots=True)
class Tool:
    """``do``: for ip(8), undone in reverse. The rest is what ec2net says; empty: nothing."""

    do: tuple[str, ...]
    warning: str = ""
    verify: str = ""
    doctor: str = ""


def tables(number: int, *, protocol: int = 195, via: str = "10.0.1.1 dev ens5") -> tuple[str, str]:
    """A route and a rule of FRR's PBR (FRR 10.3 of Debian 13)."""
    return (
        f"route add default via {via} table {number} proto {protocol} metric 20",
        f"rule add pref 304 from 192.168.7.0/24 iif ens5 lookup {number} proto zebra",
    )


TAILSCALE = (
    "rule add pref 5210 fwmark 0x80000/0xff0000 lookup main",
    "rule add pref 5230 fwmark 0x80000/0xff0000 lookup default",
    "rule add pref 5250 fwmark 0x80000/0xff0000 unreachable",
    "rule add pref 5270 lookup 52",
)

TOOLS = {
    "FRR's PBR, in an ENI's table": Tool(
        tables(10001), "10001 of ens6", doctor="route default via 10.0.1.1 dev ens5 table 10001"
    ),
    "FRR's PBR, in the primary ENI's table": Tool(
        tables(10000), "10000 of ens5", doctor="FRR (pbr) made it"
    ),
    "FRR's PBR, in the table of an ENI to come": Tool(
        tables(10002), "10002", doctor="FRR (pbr) made it"
    ),
    "FRR's PBR, with the documented range": Tool(tables(30000)),
    "FRR's PBR, for an address of an ENI": Tool(
        (
            "route add default via 10.0.1.1 dev ens5 table 30000 proto 195 metric 20",
            "rule add pref 304 from 10.0.2.5 lookup 30000 proto zebra",
        ),
        verify="by rule 304: from 10.0.2.5 lookup 30000 (a rule of zebra)",
        doctor="[routing]",
    ),
    "the VPC CNI, for a pod": Tool(
        (
            "route add default via 10.0.2.1 dev ens6 table 2",
            "rule add pref 512 to 10.0.2.77 lookup main",
            "rule add pref 1024 fwmark 0x80/0x80 lookup main",
            "rule add pref 1536 from 10.0.2.77 lookup 2",
        ),
    ),
    "the VPC CNI, for an address that the host has": Tool(
        (
            "route add default via 10.0.1.1 dev ens5 table 2",
            "rule add pref 1536 from 10.0.2.5 lookup 2",
        ),
        verify="(a rule of the VPC CNI)",
        doctor="[routing]",
    ),
    "tailscale": Tool((*TAILSCALE, "route add 100.64.0.0/10 dev docker0 table 52")),
    "tailscale, with an exit node": Tool(
        (*TAILSCALE, "route add default dev docker0 table 52"),
        verify="(a rule of tailscale)",
        doctor="[routing]",
    ),
    "nm-cloud-setup": Tool(
        (
            "route add default via 10.0.2.1 dev ens6 table 30401 proto static",
            "rule add pref 30351 lookup main suppress_prefixlength 0 proto static",
            "rule add pref 30401 from 10.0.2.4 lookup 30401 proto static",
        ),
    ),
    "cloud-netconfig": Tool(
        (
            "route add default via 10.0.2.1 dev ens6 table 30403",
            "rule add pref 30399 lookup main suppress_prefixlength 0",
            "rule add pref 30403 from 10.0.2.4 lookup 30403",
        ),
    ),
    "nodeadm": Tool(
        (
            "route add default via 10.0.2.1 dev ens6 table 10001 proto static metric 1024",
            "rule add pref 32765 from 10.0.2.4 lookup 10001 proto static",
        ),
        doctor="rule 32765: from 10.0.2.4/32 lookup 10001",
    ),
    "amazon-ec2-net-utils": Tool(
        (
            "route add default via 10.0.2.1 dev ens6 table 10001 proto static metric 513",
            "rule add pref 10001 from 10.0.2.4 lookup 10001 proto static",
        ),
        doctor="rule 10001: from 10.0.2.4/32 lookup 10001",
    ),
    "strongSwan": Tool(
        ("route add 192.168.90.0/24 dev docker0 table 220", "rule add pref 220 lookup 220"),
    ),
    "strongSwan, with a tunnel to everywhere": Tool(
        ("route add default via 10.0.1.1 dev ens5 table 220", "rule add pref 220 lookup 220"),
        verify="(a rule of strongSwan)",
        doctor="[routing]",
    ),
    "keepalived": Tool(
        ("rule add pref 300 from 10.0.2.5 lookup main proto 18",),
        verify="(a rule of keepalived)",
        doctor="[routing]",
    ),
    "a rule by hand, in the priorities of ENIs": Tool(
        ("rule add pref 10500 from 192.168.7.0/24 lookup main",),
        doctor="rule 10500: from 192.168.7.0/24 lookup main",
    ),
}


@pytest.fixture(scope="module")
def host(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Two ENIs and docker0."""
    with two_enis(install, "tools-", seed=None) as instance:
        instance.guest.ip(
            [
                "link add docker0 type bridge",
                "addr add 172.17.0.1/16 dev docker0",
                "link set docker0 up",
            ]
        )
        instance.refresh_twice()
        yield instance


@contextmanager
def made(instance: Instance, tool: Tool) -> Iterator[None]:
    instance.guest.ip(tool.do)
    try:
        yield
    finally:
        instance.guest.ip([line.replace(" add ", " del ", 1) for line in reversed(tool.do)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TOOLS)
def test_a_collision_with_another_program_is_reported_and_nothing_else(
    host: Instance, name: str
) -> None:
    tool = TOOLS[name]
    with made(host, tool):
        plan = host.plan()
        warnings = " ".join(plan["warnings"])
        assert tool.warning in warnings
        assert bool(tool.warning) is bool(warnings)
        assert (plan["changes"], plan["conflicts"], plan["problems"]) == ([], [], [])
        said = host.ec2net("verify", status=4 if tool.verify else 0).stdout
        assert tool.verify in said
        found = host.ec2net("doctor", status=None).stdout
        assert tool.doctor in found
        assert bool(tool.doctor) is ("[foreign-object]" in found or "[routing]" in found)


def test_a_shared_table_is_reported_everywhere_before_an_eni_needs_it(
    host: Instance,
) -> None:
    shared = Tool(tables(10002))
    with made(host, shared):
        assert "! FRR (pbr): it has routes in tables" in host.ec2net("plan").stdout
        said = host.ec2net("refresh").stderr
        assert "ec2net: WARNING: FRR (pbr): it has routes in tables that ec2net keeps" in said
        assert "pbr table range" in host.ec2net("status").stdout
        assert "FRR" not in host.ec2net("explain", "ens6").stdout
        eni = host.vpc.attach(host.vpc.enis[1].subnet, device=2, **MANY)
        host.ec2net("refresh")
        assert host.unreachable() == []
        assert "10002 of ens7" in host.ec2net("explain", "ens7").stdout
        host.vpc.detach(eni)
        host.ec2net("refresh")
    assert host.ec2net("refresh").stderr == ""
    assert "FRR" not in host.ec2net("status").stdout


@pytest.mark.exhaustive
def test_with_another_base_of_tables_nothing_is_shared(host: Instance) -> None:
    with made(host, Tool(tables(10002))):
        host.configure("[numbers]\ntable_base = 40000\n")
        assert host.plan()["warnings"] == []
        host.configure()


@pytest.mark.exhaustive
def test_the_daemon_reports_a_shared_table_at_the_kernels_event(host: Instance) -> None:
    host.configure("[resident]\npoll = 3600\nfast_for = 0.1\n")
    with managed(host) as manager:
        manager.until_configured(2)
        manager.rest()
        with made(host, Tool(tables(10002))):
            took = manager.until(lambda: "WARNING: FRR (pbr): it has" in manager.log())
            print(f"reported {took:.2f} s after FRR's route")
            manager.until(lambda: status_warnings(host))
        manager.until(lambda: not status_warnings(host))
        manager.poke()
        manager.until(lambda: "resolved after" in manager.log())
    host.configure()


def status_warnings(host: Instance) -> list[Any]:
    document = json.loads(host.ec2net("status", "--json", status=None).stdout)
    found: list[Any] = document["warnings"]
    return found
