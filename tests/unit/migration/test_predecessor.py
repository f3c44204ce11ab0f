# SPDX-License-Identifier: Apache-2.0
"""The plan that ends a tool first prevents every start of a unit, then stops it; the way back."""

from collections.abc import Mapping

import pytest
from other_tools_host import MASKED_RULE, NET_UTILS_RULE, RUN, UNITS, WHOLE, host

from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.migration.kept import Kept, Migrated
from ec2net.core.migration.predecessor import (
    Works,
    back,
    forward,
    look,
    remarks,
    state_of,
    with_manage_off,
)
from ec2net.core.runtime.deadline import Deadline

NETWORKD = "/run/systemd/units/invocation:systemd-networkd.service"
SETTINGS = "/etc/default/cloud-netconfig"


def nothing(_: Deadline) -> None:
    """For a plan that is only read."""


WORKS = Works(*(nothing,) * 8)


def plan(rival: Rival, environment: Environment) -> list[str]:
    return [step.describe() for step in forward(look(rival, environment), WORKS)]


def test_masks_precede_stops_and_systemd_confirms_before_files_are_deleted() -> None:
    assert plan(Rival.NET_UTILS, WHOLE) == [
        "record the host's state in /var/lib/ec2net/migrated-amazon-ec2-net-utils.json",
        f"mask {MASKED_RULE}",
        "run udevadm control --reload",
        f"mask {UNITS}/refresh-policy-routes@.timer",
        f"mask {UNITS}/refresh-policy-routes@.service",
        f"mask {UNITS}/policy-routes@.service",
        "run systemctl daemon-reload",
        "run systemctl stop refresh-policy-routes@ens6.timer policy-routes@ens6.service",
        "check that systemd runs no unit of the tool, and has no job for such a unit",
        f"delete {RUN}/70-ens5.network",
        f"delete {RUN}/70-ens5.network.d/eni.conf",
        f"delete {RUN}/70-ens6.network",
        f"delete {RUN}/70-ens6.network.d/eni.conf",
        f"delete {RUN}/70-ens6.network.d/ec2net_alias.conf",
        f"delete {RUN}/70-ens6.network.d",
    ]


def test_a_timer_that_only_systemd_reports_is_stopped() -> None:
    """The migration reported success before, and the timer brought the old files back."""
    units = ["refresh-policy-routes@ens5.timer", "refresh-policy-routes@ens5.service"]
    steps = plan(Rival.NET_UTILS, host(working=units))
    assert f"run systemctl stop {' '.join(units)}" in steps


def networkd(others: Mapping[str, str]) -> Environment:
    """systemd-networkd runs, and has the ENIs and ``others`` by index."""
    files = {f"{RUN}/70-ens6.network.d/eni.conf": "[Match]", NET_UTILS_RULE: "x"}
    states = {f"/run/systemd/netif/links/{index}": text for index, text in others.items()}
    return host({**files, **states}, {NETWORKD: "1"})


CONFIGURED = "ADMIN_STATE=configured\n"


def test_a_restart_that_keeps_leases_lets_networkd_read_new_files() -> None:
    """Only where it manages ENIs alone: a restart takes foreign addresses off other links."""
    alone = networkd({"1": "ADMIN_STATE=unmanaged\n", "2": CONFIGURED, "3": CONFIGURED})
    assert plan(Rival.NET_UTILS, alone)[-3:] == [
        "write the files of the ENIs for systemd-networkd",
        "restart systemd-networkd with SIGKILL, so that it keeps every lease and address",
        (
            "mark the tool's routes and addresses as ec2net's: those that ec2net needs stay, "
            "and ec2net removes the others"
        ),
    ]
    shared = networkd({"2": CONFIGURED, "9": CONFIGURED})
    assert not any("restart" in step for step in plan(Rival.NET_UTILS, shared))
    (remark,) = remarks(look(Rival.NET_UTILS, shared))
    assert "each ENI may lose its lease for up to 3 s" in remark


@pytest.mark.parametrize("rival", Rival)
def test_a_tool_that_is_off_or_absent_needs_no_step(rival: Rival) -> None:
    assert plan(rival, host()) == plan(rival, host(shipped=())) == []
    assert "and off: systemd runs none of its units" in state_of(look(rival, host()))
    assert "is not on this host" in state_of(look(rival, host(shipped=())))


def test_other_starters_are_reported_and_left() -> None:
    files = {
        "/etc/cron.d/mine": "* * * * * root /usr/bin/setup-policy-routes ens6 refresh\n",
        "/etc/cron.d/other": "# setup-policy-routes is gone\n",
        "/etc/NetworkManager/dispatcher.d/50-mine": "systemctl start policy-routes@$1.service\n",
        f"{UNITS}/policy-routes@.service": "[Service]\n",
        NET_UTILS_RULE: "x",
    }
    told = list(remarks(look(Rival.NET_UTILS, host(files))))
    named = sorted(remark.split()[0] for remark in told)
    unit = f"{UNITS}/policy-routes@.service"
    assert named == ["/etc/NetworkManager/dispatcher.d/50-mine", "/etc/cron.d/mine", unit]
    assert f"mask {unit}" not in plan(Rival.NET_UTILS, host(files))


def test_nm_cloud_setup_is_masked_because_a_dispatcher_starts_enabled_units() -> None:
    enabled = f"{UNITS}/timers.target.wants/nm-cloud-setup.timer"
    steps = plan(Rival.NM_CLOUD_SETUP, host(links={enabled: "t"}, working=["nm-cloud-setup.timer"]))
    assert steps[1:] == [
        f"mask {UNITS}/nm-cloud-setup.timer",
        f"mask {UNITS}/nm-cloud-setup.service",
        "run systemctl daemon-reload",
        "run systemctl stop nm-cloud-setup.timer",
        f"delete {enabled}",
        "check that systemd runs no unit of the tool, and has no job for such a unit",
    ]


def test_a_restart_makes_networkmanager_forget_objects_of_the_tool() -> None:
    """Also after a first run that ended in the middle: the units are off, and its rules remain."""
    made = ("rule 30400: from 10.0.1.5/32 lookup 30400",)
    found = look(Rival.NM_CLOUD_SETUP, host(), made)
    assert [step.describe() for step in forward(found, WORKS)][-2:] == [
        (
            "restart NetworkManager, so that it no longer restores the tool's addresses, routes and "
            "rules; every lease and address stays"
        ),
        "add the addresses again with prefix length /32, and remove those with the tool's prefix length",
    ]
    assert "1 of its rules and routes are in the kernel" in state_of(found)
    (remark,) = remarks(found)
    assert "ends VPN connections" in remark


def test_cloud_netconfig_is_disabled_in_its_settings_too() -> None:
    steps = plan(Rival.CLOUD_NETCONFIG, host({SETTINGS: 'CLOUD_NETCONFIG_MANAGE="yes"\n'}))
    assert f'set CLOUD_NETCONFIG_MANAGE="no" in {SETTINGS}' in steps


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'CLOUD_NETCONFIG_MANAGE="no"\n'),
        ("A=1", 'A=1\nCLOUD_NETCONFIG_MANAGE="no"\n'),
        (
            "# CLOUD_NETCONFIG_MANAGE=\nCLOUD_NETCONFIG_MANAGE='yes'\nB=2\n",
            '# CLOUD_NETCONFIG_MANAGE=\nCLOUD_NETCONFIG_MANAGE="no"\nB=2\n',
        ),
    ],
)
def test_only_one_setting_changes(before: str, after: str) -> None:
    assert with_manage_off(before) == after


LINK, FILE = 0o120777, 0o100644
BEFORE = Migrated(
    Rival.NET_UTILS,
    "2026-11-29T05:36:37Z",
    "boot 1",
    ("refresh-policy-routes@ens6.timer", "policy-routes@ens6.service"),
    (
        Kept(MASKED_RULE),
        Kept(f"{UNITS}/timers.target.wants/x.timer", LINK, content=b"t"),
        Kept(f"{RUN}/70-ens6.network.d/eni.conf", FILE, content=b"[Match]"),
        Kept(f"{RUN}/70-ens6.network.d", 0o40755),
    ),
)


def test_migrating_back_unmasks_the_units_first_so_that_ec2net_refuses_the_enis() -> None:
    assert [step.describe() for step in back(BEFORE, "boot 1", WORKS, "ens6")] == [
        f"restore {UNITS}/timers.target.wants/x.timer",
        f"delete {MASKED_RULE}",
        "run systemctl daemon-reload",
        "run udevadm control --reload",
        "remove the configuration of ec2net from ens6",
        f"restore {RUN}/70-ens6.network.d",
        f"restore {RUN}/70-ens6.network.d/eni.conf",
        "run networkctl reload",
        "run systemctl start policy-routes@ens6.service refresh-policy-routes@ens6.timer",
        "delete the record of the host's state",
    ]


def test_after_a_reboot_the_tool_restores_its_files_in_run() -> None:
    steps = [step.describe() for step in back(BEFORE, "boot 2", WORKS, "ens6")]
    assert not any(RUN in step or "networkctl" in step for step in steps)
