# SPDX-License-Identifier: Apache-2.0
"""The packages on a host that runs: installed, upgraded, removed; nothing foreign is touched."""

import re
import shutil
import subprocess
from pathlib import Path

import lab_package
import pytest
from checkout import TOP
from kernel_state import differences
from lab_host import LabHost
from lab_instance import LabInstance, Mode, Setting
from lab_package import Installed
from lab_root import Release
from lab_unpackaged import files, plain, until_leased

import ec2net
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

pytestmark = pytest.mark.lab

EXAMPLE = TOP / "tests/plugin_example"

NEXT = "99.0"
"""The version of an upgrade."""

UNITS = ("ec2net.service", "ec2net-early.service", "ec2net-on-demand.target")

OURS = re.compile(
    r"/ec2net/.*__pycache__|\.wants/ec2net|^/etc/systemd/system/[^/]*\.wants$"
    r"|/deb-systemd-helper-enabled(/|$)"
)
"""Bytecode, and where systemd and Debian keep that units are enabled."""


def packaged(host: LabHost) -> set[str]:
    return set(host.run(["dpkg", "--listfiles", "ec2net"]).stdout.splitlines())


def enabled(host: LabHost) -> list[str]:
    return host.run(["systemctl", "is-enabled", *UNITS], check=False).stdout.split()


def main_pid(host: LabHost) -> str:
    return host.run(["systemctl", "show", "ec2net.service", "--property=MainPID"]).stdout


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same deb as a later version."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    dpkg_deb("--raw-extract", lab_package.built(), tree)
    control, told = (
        tree / "DEBIAN/control",
        tree / "usr/lib/python3/dist-packages/ec2net/__init__.py",
    )
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {NEXT}-1", control.read_text()))
    told.write_text(told.read_text().replace(ec2net.__version__, NEXT))
    dpkg_deb("-Znone", "--build", tree, tree.with_suffix(".deb"))
    return tree.with_suffix(".deb")


def dpkg_deb(*arguments: str | Path) -> None:
    subprocess.run(["dpkg-deb", *arguments], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("release", list(Release), ids=lambda release: release.value)
def test_a_deb_is_installed_and_purged_on_a_running_host(release: Release, newer: Path) -> None:
    """ENU#69, R26: installation, upgrade, removal and purge lose no lease and change no foreign
    file, rule, route or address; the earlier state is there afterwards."""
    with plain(release) as instance:
        host, vpc = instance.host, instance.vpc
        until_leased(instance)
        disk, kernel, began = files(host), instance.kernel(), host.cursor()
        leases = len(vpc.dhcp_messages(instance.primary))

        host.install(lab_package.built())
        assert host.ec2net("--version").stdout == f"ec2net {ec2net.__version__}\n"
        assert enabled(host) == ["enabled", "enabled", "disabled"]
        instance.complete()
        later = instance.attach_many()
        assert instance.bounces(began) == []
        # As on a host that booted with the package: once, by its file.
        assert len(instance.configured(later.name, began)) == 1
        host.ec2net("verify")
        settled = host.cursor()
        gone = [line for line in differences(kernel, instance.kernel()) if line[0] == "-"]
        assert [line for line in gone if not line.startswith(("- links", "- sysctls"))] == []
        disk_now = files(host)
        added = disk_now.keys() - disk.keys() - packaged(host)
        assert sorted(path for path in added if not OURS.search(path)) == []
        assert {path: told for path, told in disk.items() if disk_now.get(path) != told} == {}

        process, kernel = main_pid(host), instance.kernel()
        host.install(newer)
        assert host.ec2net("--version").stdout == f"ec2net {NEXT}\n"
        instance.complete()
        assert main_pid(host) != process
        assert enabled(host) == ["enabled", "enabled", "disabled"]
        assert differences(kernel, instance.kernel()) == []

        host.dpkg("--remove", "ec2net")
        assert instance.own_processes() == []
        assert differences(kernel, instance.kernel()) == []
        assert instance.unreachable() == []
        host.dpkg("--purge", "ec2net")
        assert files(host) == disk
        assert host.run(["systemctl", "list-units", "--all", "ec2net*"]).stdout.count("ec2net") == 0

        assert instance.bounces(settled) == []
        assert len(vpc.dhcp_messages(instance.primary)) == leases
        host.reboot()
        until_leased(instance)
        assert len(host.ip("rule")) == 3
        assert host.run(["ls", "/run/ec2net"], check=False).returncode != 0


def test_a_preset_of_the_administrator_selects_the_mode_on_demand() -> None:
    """In force from the installation on; after its removal no unit of an ENI is left."""
    with plain(Release.BOOKWORM, Mode.ON_DEMAND) as instance:
        host = instance.host
        until_leased(instance)
        host.install(lab_package.built())
        assert enabled(host) == ["disabled", "enabled", "enabled"]
        host.wait_until(lambda: instance.unreachable(instance.primary) == [], 60, "the primary")
        later = instance.attach_many()
        assert instance.unit_state(later.name) == "active"
        host.dpkg("--purge", "ec2net")
        listed = host.run(["systemctl", "list-units", "--plain", "--no-legend", "ec2net*"])
        assert (listed.stdout, instance.own_processes()) == ("", [])
        assert instance.unreachable(later) == []


def rpm(root: Path, *arguments: str | Path) -> None:
    """The machine's rpm, with the database of a root file system."""
    command = ["rpm", "--force-debian", "--root", root, "--dbpath", "/var/lib/rpm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search("warning|error|fail", done.stderr), done.stderr  # also of scriptlets


def assert_finds_plugins(host: LabHost, python: str) -> None:
    """A library that an administrator installed for ``python``."""
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = host.run(asked).stdout.strip()
    host.write(f"{site}/ec2net_noop.py", (EXAMPLE / "ec2net_noop.py").read_text())
    host.write(f"{site}/ec2net_noop-1.dist-info/entry_points.txt", "[ec2net]\nnoop = ec2net_noop\n")
    config = "/etc/ec2net/ec2net.toml.d/30-plugin.toml"
    host.write(config, '[[eni]]\nmatch = { name = "ens6" }\nbackend = "noop"\n')
    assert re.search(r"ens6 +noop ", host.ec2net("backends").stdout)
    host.run(["sh", "-c", f"rm -r {config} {site}/*ec2net* {site}/__pycache__"])


def scriptlet(package: Path, tag: str) -> str:
    query = ("rpm", "--query", "--package", "--queryformat", f"%{{{tag}}}")
    return subprocess.run(
        [*query, package], capture_output=True, text=True, timeout=30, check=True
    ).stdout


def test_the_rpm_contains_all_dependencies() -> None:
    """On systemd 252 and Python 3.11, like Amazon Linux 2023, and without a library of the
    distribution: enabled by the presets, it configures ENIs; after its removal no file is left."""
    package = lab_package.built_rpm("amzn2023")

    def install_rpm(root: Path) -> None:
        shutil.rmtree(root / "usr/lib/python3/dist-packages")
        rpm(root, "--install", "--nodeps", package)

    with VpcWithDhcp(prefix="r-") as vpc:
        instance = LabInstance(Setting(Release.BOOKWORM, "networkd", Mode.RESIDENT), vpc)
        vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
        files = instance.setting.files(timer=False)
        with LabHost(
            vpc, Release.BOOKWORM, files=files, installed=Installed.NOTHING, before_boot=install_rpm
        ) as host:
            instance.host = host
            assert host.ec2net("--version").stdout == f"ec2net {ec2net.__version__}\n"
            assert enabled(host) == ["enabled", "enabled", "disabled"]
            instance.complete()
            instance.attach_many()
            host.ec2net("verify")
            host.ec2net("record", "/root/record.json")
            assert "ens6" in host.ec2net("plan", "--imds", "/root/record.json").stdout
            assert_finds_plugins(host, "python3.11")

            kernel, process = instance.kernel(), main_pid(host)
            host.run(["sh", "-c", scriptlet(package, "POSTUN"), "sh", "1"])  # as in an upgrade
            instance.complete()
            assert main_pid(host) != process
            host.run(["sh", "-c", scriptlet(package, "PREUN"), "sh", "0"])
            assert instance.own_processes() == []
            assert enabled(host) == ["disabled"] * 3
            host.run(["sh", "-c", scriptlet(package, "POSTIN"), "sh", "1"])
            instance.complete()
            assert enabled(host) == ["enabled", "enabled", "disabled"]
            assert differences(kernel, instance.kernel()) == []

            host.run(["sh", "-c", scriptlet(package, "PREUN"), "sh", "0"])
            rpm(host.root, "--erase", "ec2net")
            found = host.run(["find", "/etc", "/usr", "/var/lib", "-name", "*ec2net*"]).stdout
            lab = {
                "/etc/ec2net",
                "/etc/ec2net/ec2net.toml.d",
                "/etc/udev/rules.d/85-ec2net-lab.rules",
            }
            assert set(found.split()) == lab
            assert instance.unreachable() == []
