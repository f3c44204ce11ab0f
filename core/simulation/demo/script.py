# SPDX-License-Identifier: Apache-2.0
"""The script of ``ec2net demo``. ``stage`` gives the addresses and numbers in the lines."""

from collections.abc import Collection, Sequence

from ec2net.core.model.errors import ExitStatus
from ec2net.core.simulation.demo import checks
from ec2net.core.simulation.demo.screen import Excerpt
from ec2net.core.simulation.demo.stage import Stage
from ec2net.core.simulation.demo.steps import Check, Command, Event, Step
from ec2net.core.simulation.vpc.connections import Address
from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.imds_faults import Status

_PLAN = Excerpt(hide=r"altname|group \d+ |accept_ra|[0-9a-f]+:[0-9a-f:]*:|veth-docker|ignored:")
"""The lines of a plan for links that come up and for IPv4; IPv6 repeats them."""
_FEW = Excerpt(first=4)


def _all(stage: Stage) -> Sequence[Eni]:
    return stage.vpc.enis


def _second(stage: Stage) -> Sequence[Eni]:
    return [stage.second]


def _sources(stage: Stage) -> Collection[Address]:
    return stage.second.samples()


def _single_ipv4(stage: Stage) -> Collection[Address]:
    return stage.second.ipv4s


def _break_imds(stage: Stage) -> None:
    stage.vpc.imds.inject(Status(503))


def _repair_imds(stage: Stage) -> None:
    stage.vpc.imds.repair()


EVERY_ADDRESS = "every address connects out and in (of a prefix: first, middle, last)"
NOTHING_DROPPED = "the VPC's source check dropped nothing"

STEPS: tuple[Step, ...] = (
    Step(
        "An instance with two ENIs: DHCP has configured the primary, ens5; ens6 is unconfigured",
        (
            Event(
                "A foreign rule, foreign routes and a foreign address, which must stay:",
                lambda _: None,
            ),
            Command("ip rule add priority 5000 from 203.0.113.0/24 lookup 77"),
            Command("ip route add 203.0.113.0/24 via 10.0.1.1 dev ens5 table 77"),
            Command("ip route add 192.0.2.0/24 via 10.0.1.1 dev ens5"),
            Command("ip addr add 198.18.0.1/32 dev ens6"),
            Event("", checks.keep_foreign),
            Check(
                "without ec2net, no traffic from ens6's addresses gets out, and the source "
                "check drops packets",
                checks.dropped_on_the_way(_sources),
            ),
        ),
    ),
    Step(
        "The plan: changes that ec2net would make",
        (
            Event("", checks.keep("before the plan")),
            Command("ec2net plan", show=_PLAN),
            Check("the plan changed nothing", checks.same_as("before the plan")),
        ),
    ),
    Step(
        "Apply the plan",
        (
            Command("ec2net refresh", show=_FEW),
            Command("ec2net status"),
            Check(EVERY_ADDRESS, checks.connections(_all)),
            Check(
                "a container behind docker0 answers ens6's addresses",
                checks.container_through_docker0,
            ),
            Check(
                "a host in ens6's own subnet answers ens6's addresses",
                checks.neighbour_through_own_eni,
            ),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "Run it again: nothing is left to do, and the kernel agrees",
        (
            Event("", checks.keep("settled")),
            Command("ec2net refresh"),
            Check("the second refresh changed nothing", checks.same_as("settled")),
            Check("the plan is empty", checks.plan_is_empty),
            Command("ec2net verify"),
        ),
    ),
    Step(
        "A third ENI is attached while the instance runs",
        (
            Event("EC2 attaches ens7; IMDS reports its device number 0.8 s later.", Stage.hotplug),
            Command("ec2net start ens7", show=_FEW),
            Check("ens7 is reachable, from and to every address", checks.reachable_in),
            Check("ens7 has a table of its own", checks.mentions(lambda _: "10002", there=True)),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "ens6 gets one more address and one more prefix",
        (
            Event("EC2 assigns {stage.assigned} and {stage.delegated} to ens6.", Stage.assign),
            Command("ec2net refresh"),
            Check(EVERY_ADDRESS, checks.connections(_second)),
            Event("EC2 removes both again.", Stage.unassign),
            Command("ec2net refresh"),
            Check(
                "the guest has neither of them any more",
                checks.mentions(
                    lambda stage: stage.assigned,
                    lambda stage: stage.delegated and stage.delegated.network_address,
                    there=False,
                ),
            ),
            Check("the other ENIs work as before", checks.connections(_second)),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "A user deletes a rule of ens6",
        (
            Command("ip rule del priority 10001 from 10.0.2.4/30"),
            Check(
                "the source check drops what ens6's IPv4 addresses send now",
                checks.dropped_on_the_way(_single_ipv4),
            ),
            Command("ec2net verify", statuses=(ExitStatus.DRIFT,), show=Excerpt(first=3)),
            Command("ec2net refresh"),
            Command("ec2net verify"),
            Check(EVERY_ADDRESS, checks.connections(_second)),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "IMDS answers only with errors for a while",
        (
            Event("", checks.keep("before")),
            Event("IMDS answers 503 to every request.", _break_imds),
            Command("ec2net refresh", statuses=(ExitStatus.DONE, ExitStatus.FAILED)),
            Check("nothing is lost", checks.same_as("before")),
            Check(EVERY_ADDRESS, checks.connections(_all)),
            Event("IMDS works again.", _repair_imds),
            Command("ec2net refresh"),
            Check("the plan is empty", checks.plan_is_empty),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "The third ENI is detached",
        (
            Event("EC2 detaches ens7.", Stage.detach),
            Command("ec2net refresh", show=_FEW),
            Check(
                "none of its rules and routes remain",
                checks.mentions(lambda _: "10002", there=False),
            ),
            Command("ec2net status"),
            Check(EVERY_ADDRESS, checks.connections(_all)),
            Check(NOTHING_DROPPED, checks.nothing_dropped),
        ),
    ),
    Step(
        "Throughout the demo",
        (Check("the foreign rule, routes and address are unchanged", checks.foreign_untouched),),
    ),
)
