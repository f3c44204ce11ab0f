# SPDX-License-Identifier: Apache-2.0
"""One version takes over a host that another one configured: nothing changes, nothing is lost.

In both directions between this checkout and the old version (tests/support/old_version.py), with
every kind of state file that the netlink backend has. tests/lab/test_lab_upgrade.py has the network
managers'.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from instance import MANY, SOURCE, Instance, primary, subnets
from kernel_state import KernelEvents, State, assert_same, differences
from manager import Manager, managed
from old_version import unpacked_or_not_run
from probe import Streams

from ec2net.core.kernel import link_events
from ec2net.core.runtime.deadline import readable
from ec2net.core.simulation.vpc.eni import Detach, Eni
from ec2net.core.simulation.vpc.imds_faults import Fault, Status

pytestmark = [pytest.mark.netns, pytest.mark.neighbours]

CONFIG = """\
metrics_file = "{metrics}"
mtu = 1400
published_ports = true
[[eni]]
match = {{ attached = "later" }}
main_default = "no"
[resident]
poll = 3600
fast_for = 0.1
[timeouts]
pass = 60
"""
"""Settings by which a lost state file shows: a later ENI that counts as one of the boot gets a
default route in main. Without its journal a link does not get its MTU back."""

CUTS_OFF = """\
from dataclasses import replace
from ipaddress import ip_address, ip_network
try:
    from ec2net.core.plugins.api import Route, hookimpl
except ImportError:  # of the old version
    from ec2net.core.hookspecs import hookimpl
    from ec2net.core.kernel.objects import Route

@hookimpl
def ec2net_adjust_intent(intent, facts):
    if intent.link.name != "ens6":
        return None
    to_imds = Route(
        ip_network("169.254.169.254/32"), 254, 1000, intent.link, source=ip_address("10.0.1.4")
    )
    return replace(intent, main_routes=(*intent.main_routes, to_imds))
"""
"""A plugin that wants IMDS to be reached through an ENI by another's address, where no answer is."""


def use_version(instance: Instance, source: Path) -> None:
    """Use this version as ``ec2net``, with the arrangement of main that both versions support."""
    apart = instance.config_root / "etc/ec2net/ec2net.toml.d/10-main-table.toml"
    apart.unlink(missing_ok=True)
    if source == SOURCE:  # the old version does not have this key
        apart.write_text('main_table = "apart"\n')
    instance.source = source


_LINK, _IPV6_ADDRESS = 0x1, 0x100
"""RTMGRP_LINK and RTMGRP_IPV6_IFADDR (include/uapi/linux/rtnetlink.h)."""

DIRECTIONS = ("old to new and back", "new to old and back")


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the old version is imported."""
    return unpacked_or_not_run(tmp_path_factory.mktemp("old")) / "src"


@dataclass
class Host:
    """An instance with two ENIs of the boot and a third that was attached later."""

    instance: Instance
    versions: tuple[Path, Path]
    """The one that configured it, and the one that takes over."""
    metrics: Path
    bare: State
    """The kernel before any pass."""
    without: State
    """The kernel before the ENI that was attached later."""

    @property
    def enis(self) -> tuple[Eni, ...]:
        return tuple(self.instance.vpc.enis)

    def use(self, number: int) -> None:
        """Have the first or the second version at ``ec2net`` from now on."""
        use_version(self.instance, self.versions[number])

    def passes(self) -> int:
        """How many passes the metrics count."""
        found = re.findall(
            r"^ec2net_passes_total\{.*\} (\d+)$", self.metrics.read_text(), re.MULTILINE
        )
        return sum(map(int, found))

    def memory(self) -> set[str]:
        """Names of state files."""
        return self.instance.files().keys() - {"resident.json"}


def is_up(instance: Instance, link: str) -> bool:
    """Whether a link has its carrier and its link-local address."""
    state = instance.kernel()
    carrier = [line for line in state["links"] if link in line and '"operstate": "UP"' in line]
    return bool(carrier) and any(link in line and "fe80:" in line for line in state["addresses"])


@pytest.fixture(params=DIRECTIONS)
def versions(request: pytest.FixtureRequest, old: Path) -> tuple[Path, Path]:
    """The version that configures a host, and the one that takes it over."""
    return (old, SOURCE) if request.param == DIRECTIONS[0] else (SOURCE, old)


@pytest.fixture
def host(versions: tuple[Path, Path], instance: Instance, tmp_path: Path) -> Host:
    """Configured by its first version, by several passes with something to remember in each."""
    metrics = tmp_path / "ec2net.prom"
    first, second = subnets(instance.vpc, 2)
    instance.mixed = True
    primary(instance.vpc, first, **MANY)
    instance.vpc.attach(second, **MANY)
    instance.configure(CONFIG.format(metrics=metrics))
    use_version(instance, versions[0])
    # A link that was brought up stays so when its ENI is removed.
    with instance.guest.call(lambda: link_events.KernelEvents(_LINK | _IPV6_ADDRESS)) as events:
        instance.guest.ip(["link set ens6 up"])
        while not is_up(instance, "ens6"):  # the carrier follows later
            assert readable([events.fileno()], 60)
            events.drain()
    bare = instance.kernel()
    instance.ec2net("refresh")
    without = instance.kernel()
    instance.vpc.attach(second, **MANY)
    instance.ec2net("refresh")
    instance.guest.ip(["rule del priority 10001"])  # which makes a story
    instance.ec2net("refresh")
    return Host(instance, versions, metrics, bare, without)


@contextmanager
def unchanged(host: Host) -> Iterator[None]:
    """Inside the block the kernel has no event, no message on any stream is lost, and no state file
    is created or deleted. A version may write one in another form, which the other has to read."""
    instance = host.instance
    before, marks, memory = instance.kernel(), ruleset(instance), host.memory()
    with Streams(instance.vpc, host.enis) as streams, KernelEvents(instance.guest) as events:
        yield
        assert events.taken() == []
        streams.exchange()
    assert_same(before, instance.kernel())
    assert ruleset(instance) == marks
    assert host.memory() == memory


def ruleset(instance: Instance) -> str:
    """The nftables rules for ``published_ports``."""
    done = instance.guest.run(["nft", "--stateless", "list", "ruleset"])
    assert done.returncode == 0, done.stderr
    return done.stdout


def explained(instance: Instance, link: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(instance.ec2net("explain", "--json", link).stdout)
    return document


def assert_takes_over(host: Host) -> None:
    """The version in use has all the state of the other one, and makes no change."""
    instance = host.instance
    counted = host.passes()
    with unchanged(host):
        with instance.vpc.imds.fault(Fault(Status(503))):
            # All facts in its files came from the other version.
            done = instance.ec2net("refresh", "--json", status=1)
            assert json.loads(done.stdout)["changes"] == []
            known = [row["standing"] for row in instance.status().values()]
            # The old version calls it ready.
            assert [word.replace("ready", "planned") for word in known] == (
                ["planned"] * len(host.enis)
            )
        with configured(host, "mtu = "):  # no TOML: the last good one stays in force
            done = instance.ec2net("refresh", "--json", status=2)
            assert json.loads(done.stdout)["changes"] == []
        instance.vpc.imds.clear_log()
        done = instance.ec2net("refresh")
        assert (done.stdout, done.stderr) == ("", "")
        assert instance.vpc.imds.count("token") == 0
        instance.ec2net("verify")
        assert list(instance.status()) == [str(eni.mac) for eni in host.enis]
        (story,) = explained(instance, host.enis[1].name)["drift"]
        assert "rule 10001" in story["text"]
    assert host.passes() == counted + 3


@contextmanager
def configured(host: Host, text: str) -> Iterator[None]:
    """With another text in ec2net.toml inside."""
    host.instance.configure(text)
    try:
        yield
    finally:
        host.instance.configure(CONFIG.format(metrics=host.metrics))


def assert_pass_by(manager: Manager, host: Host) -> None:
    """A refresh by the version in use, which the daemon runs: the daemon has not read this file."""
    with configured(host, "mtu = 1300\n"):
        assert manager.poke()["changes"] == []


def test_another_version_takes_a_host_over_and_changes_nothing(host: Host) -> None:
    host.use(1)
    assert_takes_over(host)
    host.use(0)
    assert_takes_over(host)


def test_another_version_removes_the_configuration_of_an_eni(host: Host) -> None:
    """For a detached ENI, by its marker and its marks; for an attached one, by its journal."""
    instance, (_, second, third) = host.instance, host.enis
    host.use(1)
    instance.vpc.detach(third, Detach.DELETE)
    instance.ec2net("remove", third.name, "--if-gone")
    instance.ec2net("refresh")
    assert_same(host.without, instance.kernel())
    left = [name for name in instance.files() if str(third.mac) in name or third.name in name]
    assert left == []
    instance.ec2net("remove", second.name)
    own = re.compile(rf'\b{second.name}\b|"1000[01]"')  # its link, its table and its rules
    found = differences(host.bare, instance.kernel())
    assert [line for line in found if own.search(line)] == []


def test_another_version_takes_over_from_a_running_daemon(host: Host) -> None:
    """While the daemon runs, commands of the other version reach it; afterwards a daemon takes
    over."""
    instance = host.instance
    with managed(instance) as manager:
        manager.until_configured(3)
        manager.rest()
        with unchanged(host):
            host.use(1)
            assert_pass_by(manager, host)
            instance.ec2net("verify")
            instance.ec2net("status")
            done = instance.ec2net("run", status=1)
            assert "another" in done.stderr
            assert manager.stop() == 0
            with managed(instance) as successor:
                successor.until_configured(3)
                host.use(0)
                assert_pass_by(successor, host)
                assert successor.stop() == 0
            with managed(instance) as back:
                back.until_configured(3)
                assert_pass_by(back, host)


def test_another_version_leaves_a_quiet_host_unchanged(
    versions: tuple[Path, Path], instance: Instance
) -> None:
    primary(instance.vpc, *subnets(instance.vpc, 1)[:1], ipv6=0)
    use_version(instance, versions[0])
    instance.ec2net("refresh", "--unless-quiet")
    use_version(instance, versions[1])
    instance.vpc.imds.clear_log()
    instance.ec2net("refresh", "--unless-quiet")
    assert instance.vpc.imds.count() == 0
    instance.ec2net("refresh")
    assert instance.vpc.imds.count() > 0


def test_another_version_keeps_a_hold(
    versions: tuple[Path, Path], instance: Instance, tmp_path: Path
) -> None:
    """The intent of the ENI is the same, so the change that made IMDS unreachable is not
    retried."""
    first, second = subnets(instance.vpc, 2)
    primary(instance.vpc, first, **MANY)
    eni = instance.vpc.attach(second, **MANY)
    use_version(instance, versions[0])
    instance.mixed = True
    instance.ec2net("refresh")
    (tmp_path / "ec2net_cuts_off.py").write_text(CUTS_OFF)
    entry = tmp_path / "ec2net_cuts_off-1.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: ec2net-cuts-off\nVersion: 1\n")
    (entry / "entry_points.txt").write_text("[ec2net]\ncuts-off = ec2net_cuts_off\n")
    instance.configure('[plugins]\nenabled = ["cuts-off"]\n[rollback]\nafter = 1.5\n')

    def refresh(source: Path) -> list[object]:
        use_version(instance, source)
        env = {"PYTHONPATH": f"{source}:{tmp_path}"}
        done = instance.ec2net("refresh", "--json", status=1, env=env)
        made: list[object] = json.loads(done.stdout)["changes"]
        return made

    before = instance.kernel()
    refresh(versions[0])
    held = instance.files()["held.json"]
    assert str(eni.mac) in json.loads(held)
    for source in (versions[1], versions[0]):
        with KernelEvents(instance.guest) as events:
            assert refresh(source) == []
            assert events.taken() == []
        assert instance.status()[str(eni.mac)]["held"] is not None
        assert instance.files()["held.json"] == held
    assert_same(before, instance.kernel())
