# SPDX-License-Identifier: Apache-2.0
"""The first hour of a stranger who has the folder of a release: each command is from the documents.

The host is new, and amazon-ec2-net-utils configures it. The stranger installs ec2net, replaces the
tool, names a backend and pauses changes. Then the stranger goes back to the old version and forward
again, and returns to the tool. A connection to each address stays open for the whole hour. Afterwards
the host has the files, units, rules, routes and packet filters of before.
"""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import lab_package
import pytest
from checkout import TOP, output
from kernel_state import differences
from lab_host import HostError, LabHost
from lab_instance import LabInstance, Mode, Setting
from lab_package import Installed
from lab_root import Release
from lab_unpackaged import files
from predecessor import WIRING, install_debians, three, unconfigured, units, until_at_work
from probe import Streams

import ec2net
from ec2net.core.simulation.vpc.dhcp import VpcWithDhcp

pytestmark = [pytest.mark.lab, pytest.mark.exhaustive]

FOLDER = "/root/release"
"""The stranger's working directory: the unpacked tarball, with the packages in it."""

REFUSED = "ec2net migrate --from amazon-ec2-net-utils"
WELL = "OK: all"


@dataclass(frozen=True, slots=True)
class Script:
    """A script of an rpm, with the number of packages that are left, as rpm runs it."""

    package: Path
    tag: str
    left: int


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and a part of its output."""

    command: str
    says: str = ""
    page: str = "README.md"
    status: int = 0
    before: tuple["Script", ...] = ()
    after: tuple["Script", ...] = ()


PIN = 'printf \'[[eni]]\\nmatch = { name = "ens6" }\\nbackend = "networkd"\\n\' > /etc/ec2net/ec2net.toml.d/ens6.toml'

LOOK = (
    Step("ec2net status", REFUSED, "docs/first-steps.md", 1),
    Step("ec2net migrate", REFUSED),
)
REPLACE = (
    Step("ec2net migrate --from amazon-ec2-net-utils --apply", "has been off since"),
    Step("ec2net doctor", "its package can be removed safely"),
    Step("ec2net verify", WELL),
)
USE = (
    Step("ec2net backends", "ens6", "docs/first-steps.md"),
    Step(PIN, "", "docs/first-steps.md"),
    Step("ec2net config --check", "", "docs/first-steps.md"),
    Step("systemctl reload ec2net.service", "", "docs/first-steps.md"),
    Step("ec2net refresh", "", "docs/first-steps.md"),
    Step("ec2net backends", "configuration", "docs/first-steps.md"),
    Step(
        'ec2net pause --for 2h --reason "audit of the network"',
        "Changes are paused",
        "docs/fleet.md",
    ),
    Step("ec2net status", "audit of the network", "docs/first-steps.md"),
    Step("ec2net resume", "", "docs/fleet.md"),
)
RETURN = (
    Step("rm /etc/ec2net/ec2net.toml.d/ens6.toml", "", "docs/first-steps.md"),
    Step("ec2net migrate --undo --apply"),
    Step("systemctl disable --now ec2net.service ec2net-early.service"),
)

INSTALL_DEB = Step("apt install ./ec2net_*_all.deb", "Setting up ec2net")
DOWN_DEB = Step(
    "examples/downgrade/downgrade.sh earlier/ec2net_*_all.deb", "12 addresses", "docs/packaging.md"
)
PURGE = Step("apt purge -y ec2net", "Purging configuration files", "docs/packaging.md")

INSTALL_RPM = Step("dnf install ./ec2net-*.amzn2023.noarch.rpm", "Installed:")


def documented(page: str) -> set[str]:
    """The commands of a page: in blocks, without the note at the end, and within sentences."""
    text = (TOP / page).read_text()
    lines = re.findall(r"^# (.+?)(?: {2,}#.*)?$", text, flags=re.MULTILINE)
    return {*lines, *re.findall("`([^`\n]+)`", text)}


@pytest.mark.parametrize(
    "step",
    [*LOOK, *REPLACE, *USE, *RETURN, INSTALL_DEB, DOWN_DEB, PURGE, INSTALL_RPM],
    ids=lambda step: step.command,
)
def test_each_command_is_in_the_documents(step: Step) -> None:
    assert step.command in documented(step.page)


# The host


@contextmanager
def stranger(release: Release, *, packaged: bool, rpm: bool = False) -> Iterator[LabInstance]:
    """A host that never had ec2net, with three ENIs that the tool configures."""

    def before_boot(root: Path) -> None:
        if packaged:
            install_debians(root)
        if rpm:
            shutil.rmtree(root / "usr/lib/python3/dist-packages")

    with VpcWithDhcp(prefix="h-", seed=None) as vpc:
        instance = LabInstance(Setting(release, "networkd", Mode.RESIDENT), vpc)
        three(instance)
        wiring = {} if packaged else WIRING
        nothing = Installed.NOTHING
        with LabHost(
            vpc, release, files=wiring, installed=nothing, before_boot=before_boot
        ) as host:
            instance.host = host
            try:
                until_at_work(instance)
            except HostError as error:
                raise HostError(f"{error}: {units(instance)}\n{instance.story()}") from None
            yield instance


def unpack(host: LabHost, package: Path, earlier: Path) -> None:
    """The files of the release, which the stranger copied to the host."""
    folder = host.root / FOLDER.lstrip("/")
    with tarfile.open(package.with_name(f"ec2net-{ec2net.__version__}.tar.gz")) as archive:
        archive.extractall(folder.parent, filter="data")
    (folder.parent / f"ec2net-{ec2net.__version__}").rename(folder)
    (folder / "earlier").mkdir()
    shutil.copy(package, folder)
    shutil.copy(earlier, folder / "earlier")


_NOISE = re.compile(
    r"/(apt|dnf|yum|rpm|deb-systemd-helper-enabled|\.rpmdb)(/|$)|/debconf/tmp\.ci|/systemd/timers/"
)
"""The records of the package manager itself, and of systemd's timers."""

_NEXTHOP = re.compile(r'"nh_info": {[^}]*}, "nhid": \d+, ')
"""systemd-networkd 257 uses nexthop objects for routes of its first configuration alone."""

NEWER = re.compile(r'"table": "(254|10000)"')
"""Objects that the old version does not know: routes in main to the subnets of secondary ENIs, and rules
that protect the primary ENI from such routes."""

UNTIL_REBOOT = "+ files: /run/ec2net/"
"""docs/packaging.md: the state of passes stays until the next reboot, as the rules and routes do."""

FOREIGN_FOLDERS = {
    "- files: /usr/lib/NetworkManager/dispatcher.d/pre-up.d d 755 ",
    *(
        f"+ files: /usr/share/{name} d 755 "
        for name in ("licenses", "man/man5", "man/man7", "man/man8")
    ),
}
"""On Amazon Linux the rpms of NetworkManager and filesystem have these folders; here rpm knows no
other owner."""


def whole(instance: LabInstance) -> dict[str, list[str]]:
    """Files, units, rules, routes, addresses, links, sysctls and packet filters."""
    host = instance.host
    found = {f"{path} {told}" for path, told in files(host).items() if not _NOISE.search(path)}
    folders = [
        "/run/ec2net",
        "/run/systemd/network",
        "/run/NetworkManager/conf.d",
        "/run/udev/rules.d",
    ]
    found |= {*host.run(["find", *folders, "-type", "f"], check=False).stdout.splitlines()}
    listed = host.run(["systemctl", "list-unit-files", "--no-legend", "--plain"]).stdout
    failed = host.run(["systemctl", "list-units", "--failed", "--no-legend", "--plain"]).stdout
    return {
        **{
            key: sorted(_NEXTHOP.sub("", line) for line in lines)
            for key, lines in instance.kernel().items()
        },
        "files": sorted(found),
        "units": sorted(" ".join(line.split()[:2]) for line in listed.splitlines()),
        "active": [*units(instance), *failed.splitlines()],
        "nft": host.run(["nft", "list", "ruleset"]).stdout.splitlines(),
    }


def run(host: LabHost, step: Step) -> None:
    """One command in a shell, with its documented effect."""
    if step.command.startswith("dnf "):
        done = dnf(host, step)
    else:
        # The documents show commands that a person confirms.
        command = step.command.replace("apt install ", "apt install --yes ")
        inside = ["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"cd {FOLDER} && {command}"]
        done = host.run(inside, check=False, timeout=240)
    said = done.stdout + done.stderr
    shown = [line for line in said.splitlines() if not line.startswith("(Reading database ... ")]
    print("\n".join([f"# {step.command}", *shown]))
    assert done.returncode == step.status, f"{step.command}:\n{said}"
    assert step.says in said, f"{step.command}:\n{said}"


def dnf(host: LabHost, step: Step) -> "subprocess.CompletedProcess[str]":
    """The machine's dnf on the files of the running host. The package's scripts run there as in a
    chroot without systemd, and then in the host."""
    root = f"--installroot={host.root} --setopt=reposdir=/none --releasever=2023"
    words = step.command.replace("dnf ", f"dnf {root} --nogpgcheck --assumeyes ", 1)
    for script in step.before:
        run_script(host, script)
    done = subprocess.run(
        ["sh", "-c", words],
        cwd=host.root / FOLDER.lstrip("/"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for script in step.after:
        run_script(host, script)
    return done


def run_script(host: LabHost, script: Script) -> None:
    query = ("rpm", "--query", "--package", "--queryformat", f"%{{{script.tag}}}")
    host.run(["sh", "-c", output(*query, script.package), "sh", str(script.left)])


def hour(instance: LabInstance, install: Step, down: Step, up: Step, uninstall: Step) -> None:
    """All steps, with a word on each connection after each step, and the comparison of the host."""
    host, before = instance.host, whole(instance)
    with Streams(instance.vpc, instance.vpc.enis, but=unconfigured(instance)) as streams:
        for step in (install, *LOOK, *REPLACE, *USE):
            run(host, step)
            streams.exchange()
        instance.until_at_rest()
        kernel = instance.kernel()
        for step, version in ((down, lab_package.EARLIER), (up, ec2net.__version__)):
            run(host, step)
            streams.exchange()
            assert host.ec2net("--version").stdout == f"ec2net {version}\n"
            instance.complete()
            changed = differences(kernel, instance.kernel())
            assert [line for line in changed if not NEWER.search(line)] == []
        assert changed == []
        for step in (*RETURN, uninstall):
            run(host, step)
            streams.exchange()
        with suppress(HostError):  # the comparison below shows the differences
            host.wait_until(lambda: not left_over(before, instance), 60)
        streams.exchange()
    left = left_over(before, instance)
    assert left == [], "\n".join([*left, instance.story()])


def left_over(before: dict[str, list[str]], instance: LabInstance) -> list[str]:
    """The differences from before the installation that the documents do not name."""
    found = differences(before, whole(instance))
    return [
        line for line in found if not line.startswith(UNTIL_REBOOT) and line not in FOREIGN_FOLDERS
    ]


@pytest.mark.parametrize("release", list(Release), ids=lambda release: release.value)
def test_the_hour_with_the_deb_leaves_the_host_unchanged(release: Release) -> None:
    """On Debian 12 the tool is Debian's own package, on Debian 13 units like those of 2.7.4."""
    with stranger(release, packaged=release is Release.BOOKWORM) as instance:
        unpack(instance.host, lab_package.built_release(), lab_package.built_old())
        hour(instance, INSTALL_DEB, DOWN_DEB, INSTALL_DEB, PURGE)


def install_stub(instance: LabInstance, folder: Path) -> None:
    """The programs that the root file system has without rpm."""
    stub = lab_package.build_stub(folder)
    run(instance.host, Step(f"dnf install {stub}", "Installed:"))


def test_the_hour_with_the_rpm_leaves_the_host_unchanged(tmp_path: Path) -> None:
    """On systemd 252 and Python 3.11, as on Amazon Linux 2023, whose own tool is 2.7.4."""
    with stranger(Release.BOOKWORM, packaged=False, rpm=True) as instance:
        earlier, package = lab_package.built_old("rpm"), lab_package.built_rpm("amzn2023")
        unpack(instance.host, package, earlier)
        install_stub(instance, tmp_path)
        install = replace(INSTALL_RPM, after=(Script(package, "POSTIN", 1),))

        def over(old: Path, new: Path) -> tuple[Script, ...]:
            return (Script(new, "POSTIN", 2), Script(old, "PREUN", 1), Script(old, "POSTUN", 1))

        down = Step(
            f"dnf downgrade earlier/{earlier.name}", "Downgraded:", after=over(package, earlier)
        )
        up = Step("dnf upgrade ./ec2net-*.noarch.rpm", "Upgraded:", after=over(earlier, package))
        uninstall = Step(
            "dnf remove ec2net",
            "Removed:",
            before=(Script(package, "PREUN", 0),),
            after=(Script(package, "POSTUN", 0),),
        )
        hour(instance, install, down, up, uninstall)
