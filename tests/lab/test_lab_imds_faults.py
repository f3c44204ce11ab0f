# SPDX-License-Identifier: Apache-2.0
"""Each fault of the simulated IMDS, with a real network manager: the host loses nothing."""

import time
from collections.abc import Iterator

import pytest
from broken_imds import FAULTS, PASS
from instance import HANGS
from kernel_state import KernelEvents, assert_same
from lab_boot import Boot
from lab_instance import MANY, LabInstance

from ec2net.core.simulation.vpc.imds_faults import Fault, Hang, Status

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def settled(boot: Boot) -> Iterator[LabInstance]:
    """Two ENIs with everything; passes that end after 3 s."""
    files = {"/etc/ec2net/ec2net.toml.d/20-pass.toml": f"[timeouts]\npass = {PASS + 1}\n"}
    with boot(files=files) as instance:
        instance.attach_many()
        instance.until_at_rest()
        instance.refresh()
        yield instance


def managers_files(settled: LabInstance) -> dict[str, str]:
    """The files for the network manager."""
    found = settled.files().items()
    return {path: t for path, t in found if not path.startswith("/run/ec2net")}


EVERYWHERE = ("503", "hang", "garbage for addresses", "list lacks an ENI", "no token: 403")
"""``make test`` runs these on two settings, and all others on the first."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in EVERYWHERE else pytest.param(name, marks=pytest.mark.first_setting)
        for name in FAULTS
    ],
)
def test_a_fault_changes_nothing(settled: LabInstance, name: str) -> None:
    """ENU#161, ENU#118: upstream lost the configuration, or wrote the garbage into unit files."""
    before, cursor = settled.kernel(), settled.host.cursor()
    files = managers_files(settled)
    settled.vpc.imds.drop_connections()
    if name.startswith("no token"):
        settled.host.run(["rm", "-f", "/run/ec2net/imds-token.json"])
    with settled.vpc.imds.fault(FAULTS[name]) as active, KernelEvents(settled.vpc.guest) as events:
        if name.startswith("no token") and settled.setting.resident:
            settled.host.run(["systemctl", "reload", "ec2net.service"])  # the profile is in memory
        began = time.monotonic()
        done = settled.host.ec2net("refresh", check=False)
        assert time.monotonic() - began < PASS + HANGS
        assert active.hits > 0
        assert events.taken() == []
    assert done.returncode in (0, 1), done.stderr
    assert settled.refresh().count("+ ") == 0
    assert_same(before, settled.kernel())
    assert managers_files(settled) == files
    assert settled.bounces(cursor) == []


@pytest.mark.parametrize(
    "effect", [Fault(Status(503), rate=0.5), Fault(Hang(), count=3)], ids=["503", "hang"]
)
def test_a_hotplugged_eni_is_configured_although_imds_is_unreliable(
    settled: LabInstance, effect: Fault
) -> None:
    cursor = settled.host.cursor()
    with settled.vpc.imds.fault(effect):
        eni = settled.attach("ens50", **MANY)
        settled.complete(eni)
    assert len(settled.configured("ens50", cursor)) == 1
    assert settled.bounces(cursor) == []
    settled.vpc.detach(eni)
    settled.until_unit("ens50", "inactive")
    settled.refresh()
