# SPDX-License-Identifier: Apache-2.0
"""A paused host: nothing changes, everything says so, and a reboot still gets its network."""

import json
from pathlib import Path

import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same
from manager import managed

from ec2net.core.state import pause

pytestmark = pytest.mark.netns


def file(instance: Instance) -> Path:
    return instance.config_root / pause.PLACE


def test_nothing_changes_while_a_host_is_paused(instance: Instance, tmp_path: Path) -> None:
    vpc, prom = instance.vpc, tmp_path / "metrics" / "ec2net.prom"
    first, second = subnets(vpc, 2)
    main, other = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.configure(f'metrics_file = "{prom}"\n')
    instance.ec2net("refresh")
    said = instance.ec2net("pause", "--for", "2h", "--reason", "an audit").stdout
    assert said.startswith("Changes are paused until ")
    other.assign_ipv4()
    instance.guest.ip(["rule del priority 10001"])
    later = vpc.attach(second, "ens9", **MANY)
    before = instance.kernel()
    with KernelEvents(instance.guest) as events:
        assert "changes are paused until" in instance.ec2net("refresh").stderr
        instance.ec2net("start", "ens9")
        assert events.taken() == []
    assert_same(before, instance.kernel())

    plan = instance.plan()
    assert plan["pause"]["reason"] == "an audit"
    assert plan["changes"]
    assert "(paused: will not be done now)" in instance.ec2net("plan").stdout
    instance.ec2net("plan", "--exit-code")
    shown = instance.ec2net("status").stdout
    assert shown.startswith("Changes are paused until ")
    assert "(an audit); " in shown
    document = json.loads(instance.ec2net("status", "--json").stdout)
    assert document["pending_changes"] == len(plan["changes"])
    states = {eni["mac"]: eni["state"] for eni in document["enis"]}
    assert states == {
        str(main.mac): "configured",
        str(other.mac): "degraded",
        str(later.mac): "degraded",
    }
    found = json.loads(instance.ec2net("doctor", "--json", status=None).stdout)["findings"]
    assert [one["remedy"] for one in found if one["check"] == "pause"] == [
        "to end the pause: ec2net resume"
    ]
    explained = instance.ec2net("explain", "ens6").stdout
    assert "changes paused until" in explained
    lines = prom.read_text().splitlines()
    assert {"ec2net_paused 1", f"ec2net_pending_changes {len(plan['changes'])}"} <= set(lines)
    assert {"ec2net_drift 1", "ec2net_open_findings 0"} <= set(lines)  # docs/observation.md

    instance.ec2net("remove", "ens9")  # an administrator asks for it
    assert "The pause is over." in instance.ec2net("resume").stdout
    assert instance.unreachable(main, other, later) == []
    assert "There is no pause." in instance.ec2net("resume").stdout


def test_the_daemon_waits_for_the_end_of_a_pause(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, other = primary(vpc, first), vpc.attach(second, **MANY)
    with managed(instance) as manager:
        manager.until_configured(2)
        instance.ec2net("pause", "--for", "1h")
        instance.guest.ip(["rule del priority 10001"])
        before = instance.kernel()
        assert manager.poke()["changes"] == []
        assert_same(before, instance.kernel())
        manager.until(lambda: manager.states().get(str(other.mac)) != "configured")
        instance.ec2net("resume")
        manager.until_configured(2)
        assert manager.stop() == 0
    assert instance.unreachable(main, other) == []


def test_after_a_reboot_a_paused_host_has_its_primary_and_the_base(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, other = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.ec2net("pause", "--for", "1h")
    instance.ec2net("refresh")
    assert instance.unreachable(main) != []
    document = json.loads(file(instance).read_text())
    file(instance).write_text(json.dumps({**document, "boot": "the boot before"}))
    instance.forget()
    instance.ec2net("refresh")
    assert instance.unreachable(main) == []
    said = instance.guest.run(["ip", "-json", "addr", "show", "dev", other.name]).stdout
    there = {one["local"] for one in json.loads(said)[0]["addr_info"] if one["scope"] == "global"}
    assert there == {
        str(other.ipv4s[0]),
        str(other.ipv6s[0]),
    }
    assert "lookup 10001" not in instance.guest.run(["ip", "rule"]).stdout
    instance.ec2net("resume")
    assert instance.unreachable(main, other) == []


def test_a_broken_file_is_reported_and_pauses_nothing(instance: Instance) -> None:
    vpc = instance.vpc
    main = primary(vpc, *subnets(vpc, 1), **MANY)
    file(instance).parent.mkdir(parents=True)
    file(instance).write_text("{")
    done = instance.ec2net("refresh", status=1)
    assert "paused.json: cannot be read, so changes are not paused" in done.stderr
    assert instance.unreachable(main) == []
    assert "so changes are not paused" in instance.ec2net("status", status=1).stdout
    instance.ec2net("resume")
    instance.ec2net("status")
