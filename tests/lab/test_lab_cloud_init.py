# SPDX-License-Identifier: Apache-2.0
"""With cloud-init of Debian, which configures every ENI of the first boot by IMDS."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kernel_state import State, assert_same, differences
from lab_boot import Boot, rules_and_routes
from lab_cloud_init import Renderer, until_done, use_cloud_init, without_ec2net
from lab_foreign import changed_by_ec2net, foreign_files
from lab_host import HostError, LabHost
from lab_instance import LabInstance, Setting
from lab_reach import reach, until_up, until_works
from lab_root import cloud_init_layer
from neighbour_table import Tried, record

pytestmark = [pytest.mark.lab, pytest.mark.mode("resident"), pytest.mark.exhaustive]

RENDERERS = [
    pytest.param(Renderer.NETPLAN, marks=pytest.mark.backend("networkd")),
    pytest.param(Renderer.IFUPDOWN, marks=pytest.mark.backend("networkd")),
    pytest.param(Renderer.NETWORKMANAGER, marks=pytest.mark.backend("networkmanager")),
]
CONFIGURATIONS = (
    *("/etc/netplan", "/etc/network/interfaces.d", "/etc/NetworkManager/system-connections"),
    *("/run/systemd/network", "/run/NetworkManager/conf.d", "/etc/systemd/network"),
)
FIRST_BOOT = "every address works on the first boot, also for hosts of every subnet"


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, ipv4=2, ipv6=2)


@contextmanager
def first_boot(
    boot: Boot, setting: Setting, prepare: Callable[[Path], None]
) -> Iterator[LabInstance]:
    """A host with two ENIs after all stages of cloud-init on its first boot."""
    layers = [cloud_init_layer(setting.release)]
    with boot(before=two, layers=layers, prepare=prepare, complete=False, timer=True) as instance:
        for subnet in (instance.one, instance.two):
            instance.vpc.add_peer(subnet)
        until_done(instance.host)
        yield instance


@pytest.fixture(scope="module", params=RENDERERS, ids=lambda renderer: renderer.value)
def renderer(request: pytest.FixtureRequest) -> Renderer:
    found: Renderer = request.param
    return found


@pytest.fixture(scope="module")
def instance(boot: Boot, setting: Setting, renderer: Renderer) -> Iterator[LabInstance]:
    with first_boot(
        boot, setting, lambda root: use_cloud_init(root, renderer, hotplug=True)
    ) as booted:
        yield booted


def named(setting: Setting) -> str:
    return f"{setting.release.value}, {setting.backend}"


def configuration(instance: LabInstance) -> str:
    """The files of network managers and of their front ends, with contents."""
    folders = " ".join(CONFIGURATIONS)
    script = f"find {folders} ! -type d -exec ls -l --time-style=+ {{}} + -exec cat {{}} + | sort"
    return instance.host.run(["sh", "-c", script], check=False).stdout


_CHOSEN = 32000
"""Priorities from here on are chosen by the kernel or by systemd-networkd, or belong to corrections."""

_KERNEL, _RA = "2", "9"


def routing(instance: LabInstance) -> State:
    """Rules and routes, without what differs from boot to boot by chance.

    systemd-networkd chooses the priorities of cloud-init's rules. cloud-init sets links up before a
    network manager runs: the kernel may then accept a router advertisement, and ec2net adds corrections
    for the primary ENI to table 10000.
    """
    state = rules_and_routes(instance.kernel())
    for version in "46":
        rules = [json.loads(line) for line in state[f"rules {version}"]]
        state[f"rules {version}"] = sorted(
            json.dumps({k: v for k, v in rule.items() if k != "priority" or v < _CHOSEN})
            for rule in rules
            if version == "4" or rule["priority"] < _CHOSEN or rule.get("table") == "101"
        )
    state["routes 6"] = [line for line in state["routes 6"] if not _by_chance(json.loads(line))]
    return state


def _by_chance(route: dict[str, Any]) -> bool:
    advertised = route["protocol"] == _RA and route.get("metric") == 1024
    return advertised or route["protocol"] == _KERNEL or route.get("table") == "10000"


def assert_ends_as(instance: LabInstance, before: State) -> None:
    """Rules and routes become those of ``before``: a lease may come later than every address works."""
    with suppress(HostError):  # the differences say more
        instance.host.wait_until(lambda: not differences(before, routing(instance)), 60)
    assert_same(before, routing(instance))


def test_every_address_works_on_the_first_boot_also_for_hosts_of_every_subnet(
    instance: LabInstance, setting: Setting, renderer: Renderer
) -> None:
    """A host of the secondary's subnet reaches the primary's addresses, too."""
    until_works(instance)
    found = reach(instance, peers=instance.vpc.peers)
    found.foreign = changed_by_ec2net(instance)
    record(f"cloud-init, {renderer.value}", FIRST_BOOT, named(setting), True, found)
    assert (found.failed, found.wrong_way, found.foreign) == ([], 0, [])
    assert instance.host.ec2net("verify").returncode == 0


def test_the_second_boot_has_the_files_rules_and_routes_of_the_first(
    instance: LabInstance,
) -> None:
    before, files = routing(instance), configuration(instance)
    instance.host.reboot()
    until_done(instance.host)
    until_works(instance)
    assert_ends_as(instance, before)
    assert configuration(instance) == files


HOTPLUG = "cloud-init-hotplugd.service"
ATTACHED = "every address of an ENI that cloud-init's hotplug configures"


@dataclass
class Hotplug:
    """The effect of an attachment and a detachment on a host."""

    reached: Tried
    attached: list[str]
    """cloud-init's files, after the attachment."""
    detached: list[str]


def hotplug(instance: LabInstance, renderer: Renderer, ec2net: bool) -> Hotplug:
    host, vpc = instance.host, instance.vpc
    before = foreign_files(host, CONFIGURATIONS)
    third = vpc.attach(vpc.add_subnet("10.0.2.0/24", "2001:db8:0:12::/64"), ipv4=2, ipv6=2)
    host.wait_until(lambda: third.name in of_cloud_init(host), 120, "cloud-init's files")
    host.wait_until(lambda: ended(host), 180, HOTPLUG)
    (until_works if ec2net else until_up)(instance)
    reached = reach(instance, peers=vpc.peers)
    attached = foreign_files(host, CONFIGURATIONS)
    vpc.detach(third)
    if renderer is Renderer.NETWORKMANAGER:  # its profile stays
        return Hotplug(reached, attached, foreign_files(host, CONFIGURATIONS))
    host.wait_until(lambda: foreign_files(host, CONFIGURATIONS) == before, 180, "files as before")
    return Hotplug(reached, attached, before)


def of_cloud_init(host: LabHost) -> str:
    """The contents of the files that cloud-init writes itself."""
    script = f"cat {' '.join(f'{folder}/*' for folder in CONFIGURATIONS[:3])}"
    return host.run(["sh", "-c", script], check=False).stdout


def ended(host: LabHost) -> bool:
    """cloud-init makes several attempts, and the unit fails if none of them succeeds."""
    state = host.run(["systemctl", "is-active", HOTPLUG], check=False).stdout.strip()
    return state in ("inactive", "failed")


def test_an_eni_that_cloud_init_configures_when_it_is_attached_works_and_is_detached_cleanly(
    boot: Boot, setting: Setting, instance: LabInstance, renderer: Renderer
) -> None:
    """cloud-init writes the same files as on the same host without ec2net; what fails there is not
    ec2net's."""
    before = routing(instance)
    ours = hotplug(instance, renderer, True)
    assert_ends_as(instance, before)
    assert (ours.reached.failed, ours.reached.wrong_way) == ([], 0)
    name = f"cloud-init, {renderer.value}"

    def prepare(root: Path) -> None:
        use_cloud_init(root, renderer, hotplug=True)
        without_ec2net(root)

    with first_boot(boot, setting, prepare) as other:
        until_up(other)
        found = reach(other, peers=other.vpc.peers)
        record(name, FIRST_BOOT, named(setting), False, found)
        assert found.made > 0
        theirs = hotplug(other, renderer, False)
    record(name, ATTACHED, named(setting), False, theirs.reached)
    ours.reached.foreign = sorted(set(ours.attached) ^ set(theirs.attached))
    record(name, ATTACHED, named(setting), True, ours.reached)
    assert (ours.attached, ours.detached) == (theirs.attached, theirs.detached)
