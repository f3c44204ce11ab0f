# SPDX-License-Identifier: Apache-2.0
"""A running host is upgraded from the old version (tests/support/old_version.py), and downgraded
again.

Nothing changes and nothing is lost: the kernel's state, files, leases and connections stay. An ENI
that one version configured leaves nothing behind when it is detached under the other.
tests/netns/test_upgrade.py covers each kind of state file, with the netlink backend.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import lab_package
import pytest
from kernel_state import State, assert_same, differences
from lab_boot import Boot
from lab_instance import MANY, SETTINGS, LabInstance, Mode, Setting
from lab_root import Release
from lab_sessions import Sessions

pytestmark = [
    pytest.mark.lab,
    pytest.mark.mode("resident", "on-demand"),
    # Both managers, named here so that conftest.py leaves the choice of settings to this module.
    pytest.mark.backend("networkd", "networkmanager"),
]

NOW = [
    Setting(Release.TRIXIE, "networkd", Mode.RESIDENT),
    Setting(Release.BOOKWORM, "networkmanager", Mode.RESIDENT),
]
"""The settings of ``make test``: each network manager and each release once."""

_PARAMS = [
    pytest.param(setting, marks=[] if setting in NOW else pytest.mark.exhaustive, id=str(setting))
    for setting in SETTINGS
]

NEW_LEASE = {"DHCPDISCOVER", "DHCPREQUEST", "DHCPDECLINE", "DHCPRELEASE"}
"""Messages that a client sends when it takes or releases a lease."""

FILES = {"/etc/ec2net/ec2net.toml.d/20-patient.toml": "[timeouts]\npass = 60\n"}
APART = "/etc/ec2net/ec2net.toml.d/10-main-table.toml"
"""The arrangement of main that both versions support, for the version that has the key."""
"""A pass that fails writes its status, so no deadline may be too short for a busy machine."""

DRIFT = "rule del priority 10001"
"""A foreign change, which creates a history to keep."""


@pytest.fixture(scope="module", params=_PARAMS)
def setting(request: pytest.FixtureRequest) -> Setting:
    """All settings; most run only in ``make test-all``."""
    found: Setting = request.param
    return found


def until_settled(instance: LabInstance) -> None:
    """Wait for the network manager's late configuration, and for a pass that logs nothing."""

    def silent() -> bool:
        done = instance.host.ec2net("refresh", check=False)
        return (done.returncode, done.stdout, done.stderr) == (0, "", "")

    instance.until_at_rest()
    instance.host.wait_until(silent, 60, "a pass with nothing to say")


def program(instance: LabInstance) -> str:
    """The installed version, and the version of the running process."""
    modules = "find /usr/lib/python3/dist-packages/ec2net -name '*.py' -exec md5sum {} + | md5sum"
    process = "systemctl show --property=MainPID ec2net.service"
    return instance.host.run(["sh", "-c", f"{modules}; {process}"]).stdout


@contextmanager
def unchanged(instance: LabInstance) -> Iterator[None]:
    """During the installation neither the network nor any file changes."""
    earlier = program(instance).split()
    kernel, files, cursor = instance.kernel(), instance.files(), instance.host.cursor()
    leases = [len(instance.vpc.dhcp_messages(eni)) for eni in instance.vpc.enis]
    with Sessions(instance.vpc, instance.vpc.enis) as sessions:
        yield
        later = program(instance).split()
        assert later[0] != earlier[0]
        assert (later[-1] != earlier[-1]) is instance.setting.resident  # dpkg restarts the daemon
        instance.complete()
        assert instance.refresh() == ""
        instance.host.ec2net("verify")
        assert sessions.broken() == []
    assert_same(kernel, instance.kernel())
    after = instance.files()
    assert after.keys() == files.keys()
    # A version may write its state in another form, but no file that a network manager reads.
    assert [name for name in files if after[name] != files[name] and "/ec2net/" not in name] == []
    assert instance.bounces(cursor) == []
    for eni, before in zip(instance.vpc.enis, leases, strict=True):
        assert instance.configured(eni.name, cursor) == []
        said = instance.vpc.dhcp_messages(eni)[before:]
        assert [message for message in said if message.kind in NEW_LEASE] == []


def assert_detached(instance: LabInstance, name: str, before: State) -> None:
    """The ENI is detached, and every item of either version is removed with it."""
    instance.vpc.detach(next(eni for eni in instance.vpc.enis if eni.name == name))
    instance.until_unit(name, "inactive")
    instance.host.wait_until(
        lambda: not differences(before, instance.kernel()) and not files_of(instance, name),
        60,
        f"nothing left of {name}: {files_of(instance, name)}",
    )
    assert instance.refresh() == ""


def files_of(instance: LabInstance, name: str) -> list[str]:
    return [path for path in instance.files() if name in path]


def test_a_running_host_is_upgraded_and_downgraded(boot: Boot) -> None:
    old, new = lab_package.built_old(), lab_package.built()

    def enis(instance: LabInstance) -> None:
        instance.vpc.attach(instance.one, device=0, **MANY)
        instance.vpc.attach(instance.two, device=1, **MANY)

    with boot(before=enis, deb=old, files=FILES) as instance:
        host = instance.host
        until_settled(instance)
        before = instance.kernel()
        instance.attach_many("ens20")
        instance.vpc.guest.ip([DRIFT])
        until_settled(instance)

        with unchanged(instance):
            host.write(APART, 'main_table = "apart"\n')
            host.install(new)
        assert_detached(instance, "ens20", before)

        instance.attach_many("ens21")
        until_settled(instance)
        with unchanged(instance):
            host.run(["rm", APART])
            host.install(old)
        assert_detached(instance, "ens21", before)
