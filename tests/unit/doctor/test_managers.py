# SPDX-License-Identifier: Apache-2.0
"""A network manager that does not run, or that would delete ec2net's objects, is named."""

import pytest
from doctor_host import ERROR, SECOND, told, view
from eni_facts import PRIMARY, mac
from other_tools_host import host as environment

from ec2net.core.doctor.finding import Check
from ec2net.core.doctor.managers import findings
from ec2net.core.plugins.choose import Choice

KEEPS = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
OURS = "/usr/lib/systemd/networkd.conf.d/80-ec2net.conf"
RUNS = {"/run/systemd/units/invocation:systemd-networkd.service": "x"}
HEALTHY = {OURS: KEEPS}
NETWORKD = view(choices={PRIMARY: Choice("networkd", ()), mac(1): Choice("networkd", ())})


def test_a_network_manager_that_runs_is_well() -> None:
    assert list(findings(NETWORKD, environment(HEALTHY, RUNS))) == []


def test_a_host_without_a_network_manager_needs_none() -> None:
    assert list(findings(view(), environment({}))) == []


def test_one_that_does_not_run_is_named_with_its_enis() -> None:
    (found,) = findings(NETWORKD, environment({OURS: KEEPS}))
    assert told([found]) == [(ERROR, Check.MANAGER, "systemd-networkd.service")]
    assert "does not run: nothing renews the leases of ens5, ens6" in found.cause


@pytest.mark.parametrize(
    "files",
    [
        {OURS: ""},
        {OURS: KEEPS, "/etc/systemd/networkd.conf.d/90.conf": KEEPS.replace("=no", "=yes")},
        {OURS: KEEPS, "/etc/systemd/networkd.conf.d/80-ec2net.conf": "[Network]\n# empty\n"},
        {OURS: KEEPS.replace("Network", "DHCPv4")},
    ],
)
def test_settings_that_let_networkd_delete_foreign_objects_are_named(files: dict[str, str]) -> None:
    (found,) = findings(NETWORKD, environment(files, RUNS))
    assert "ManageForeignRoutes" in found.cause
    assert OURS in found.remedy


def test_a_drop_in_overrides_the_main_file() -> None:
    main = {"/etc/systemd/networkd.conf": KEEPS.replace("=no", "=yes")}
    assert list(findings(NETWORKD, environment({**HEALTHY, **main}, RUNS))) == []


def test_a_masked_networkmanager_is_known_by_the_files_that_it_keeps() -> None:
    kept = {f"/run/NetworkManager/devices/{SECOND.index}": "[device]\nmanaged=true\n"}
    mask = {"/etc/systemd/system/NetworkManager.service": "/dev/null"}
    (found,) = findings(view(), environment(kept, mask))
    assert "is masked: nothing renews the leases of ens6" in found.cause
    assert found.remedy.startswith("run: systemctl unmask NetworkManager.service && ")
