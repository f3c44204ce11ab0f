# SPDX-License-Identifier: Apache-2.0
"""With a tool that configures ENIs, ec2net changes nothing unless the tool is accepted (R31)."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from instance import MANY, Instance, below_run, primary, subnets
from kernel_state import KernelEvents, assert_same
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.netns

TOOL = "amazon-ec2-net-utils"
FORCED = f'[[eni]]\nmatch = {{ name = "ens6" }}\ncoexist_with = ["{TOOL}"]\n'


@contextmanager
def at_work(link: str) -> Iterator[None]:
    """As systemd shows that amazon-ec2-net-utils has configured this link, and will again."""
    with below_run(f"systemd/units/invocation:policy-routes@{link}.service", target="1"):
        yield


@pytest.fixture
def enis(instance: Instance) -> tuple[Eni, Eni, Eni]:
    first, second, third = subnets(instance.vpc, 3)
    main = primary(instance.vpc, first)
    return main, instance.vpc.attach(second, **MANY), instance.vpc.attach(third, **MANY)


def test_an_eni_that_another_tool_configures_is_not_changed(
    instance: Instance, enis: tuple[Eni, Eni, Eni]
) -> None:
    main, doubled, other = enis
    with at_work(doubled.name):
        made = instance.refresh(status=1)
        assert any(other.name in change for change in made)
        assert not any(doubled.name in change for change in made)
        assert instance.unreachable(main, other) == []
        row = instance.status()[str(doubled.mac)]
        assert (row["standing"], row["backend"]) == ("refused", None)
        said = instance.ec2net("refresh", status=1).stderr
        assert f"{TOOL}: the tool configures ens6 (policy-routes@ens6.service is active" in said
        assert (
            f'(run: ec2net migrate --from {TOOL}; or accept both: coexist_with = ["{TOOL}"])'
            in said
        )
        shown = instance.ec2net("status", status=1).stdout
        assert shown.count("! amazon-ec2-net-utils: ") == 1
        assert "also configures ENIs" not in shown
        assert f"ec2net migrate --from {TOOL}" in shown
        planned = instance.ec2net("plan", status=1).stdout
        assert "refused: amazon-ec2-net-utils" in planned
        assert f"ec2net migrate --from {TOOL}" in planned
        assert f"ec2net migrate --from {TOOL}" in instance.ec2net("config", "--check").stdout
        instance.configure(FORCED)
        assert any(doubled.name in change for change in instance.refresh())
        assert "also configures ENIs" in instance.ec2net("status").stdout
    assert instance.unreachable(*enis) == []


def test_the_configuration_stays_when_another_tool_appears(
    instance: Instance, enis: tuple[Eni, Eni, Eni]
) -> None:
    _, doubled, other = enis
    instance.ec2net("refresh")
    before = instance.kernel()
    with at_work(doubled.name), KernelEvents(instance.guest) as events:
        doubled.assign_ipv4()
        gone = doubled.ipv4s[1]
        doubled.unassign_ipv4(gone)
        assert instance.refresh(status=1) == []
        instance.ec2net("start", doubled.name, status=1)
        assert events.taken() == []
        assert_same(before, instance.kernel())
        other.assign_ipv4()
        assert instance.refresh(status=1) != []
        instance.ec2net("remove", doubled.name)  # a user can remove the configuration
        assert instance.unreachable(other) == []
    assert instance.refresh() != []
    assert instance.unreachable(*enis) == []


def test_the_daemon_stops_changing_an_eni_and_continues_later(
    instance: Instance, enis: tuple[Eni, Eni, Eni]
) -> None:
    with managed(instance) as manager:
        manager.until_configured(3)
        began = manager.log()
        with at_work("ens6"):
            instance.guest.ip(["rule del priority 10001", "rule del priority 10002"])
            manager.until(lambda: "ens7: + rule 10002: " in manager.log().removeprefix(began))
            doubled, other = (str(eni.mac) for eni in enis[1:])
            wanted = {doubled: "refused", other: "configured"}
            manager.until(lambda: wanted.items() <= manager.states().items())
            assert manager.poke()["changes"] == []
            said = manager.log().removeprefix(began)
            assert "rule 10001" not in said
            assert said.count(f"{TOOL}: the tool configures ens6 (") == 1
        manager.poke()
        manager.until_configured(3)
        assert "ens6: + rule 10001: " in manager.log().removeprefix(began)
    assert instance.unreachable(*enis) == []
