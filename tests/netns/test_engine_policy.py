# SPDX-License-Identifier: Apache-2.0
"""Which ENIs ec2net manages: by the time of their attachment, and with a CNI plugin (R29, R30)."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cni
import pytest
from instance import MANY, Instance, primary, subnets
from kernel_state import KernelEvents, assert_same, marked
from manager import managed

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.netns

IGNORE_LATER = '[[eni]]\nmatch = { attached = "later" }\nmanage = "ignore"\n'
NETWORKD, UDEV = Path("/run/systemd/network"), Path("/run/udev/data")


@pytest.fixture
def udev(instance: Instance) -> Iterator[Path]:
    """The data of a udev that has processed every link that exists at the call."""
    UDEV.mkdir(parents=True)
    yield UDEV
    for folder in (UDEV.parent, NETWORKD.parent):
        shutil.rmtree(folder, ignore_errors=True)


def standing(instance: Instance, eni: Eni) -> tuple[str, str]:
    row = instance.status()[str(eni.mac)]
    return row["standing"], row["attached"]


def test_a_later_eni_is_unmanaged_from_its_attachment_on(instance: Instance) -> None:
    """R29: not one change over hotplug and refreshes, and none to undo."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.configure(IGNORE_LATER)
    instance.ec2net("refresh")
    assert instance.unreachable(main, boot) == []
    later = vpc.attach(second, "ens9", **MANY)
    before = instance.kernel()
    with KernelEvents(instance.guest) as events:
        instance.ec2net("start", "ens9")
        for _ in range(3):
            assert instance.refresh() == []
        assert events.taken() == []
    assert_same(before, instance.kernel())
    assert standing(instance, later) == ("ignored", "later")
    assert standing(instance, boot) == ("configured", "boot")
    assert standing(instance, main) == ("configured", "boot")
    assert instance.unreachable(main, boot) == []
    record = instance.config_root / "record.json"  # verify's own output shows the same
    instance.ec2net("record", str(record))
    rows = json.loads(instance.ec2net("plan", "--imds", str(record), "--json").stdout)["enis"]
    told = {row["mac"]: (row["standing"], row["attached"]) for row in rows}
    assert told[str(later.mac)] == ("ignored", "later")
    assert told[str(boot.mac)] == ("configured", "boot")


def test_the_daemon_does_not_manage_a_later_eni(instance: Instance) -> None:
    """Also after a restart, and when the CNI brings the link up."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first), vpc.attach(second, **MANY)
    instance.configure(IGNORE_LATER)
    with managed(instance) as manager:
        manager.until_configured(2)
        later = vpc.attach(second, "ens9", **MANY)
        manager.until(lambda: manager.states().get(str(later.mac)) == "ignored")
        cni.set_up(vpc, later)
        before = instance.kernel()
        assert manager.poke()["changes"] == []
        assert manager.stop() == 0
    with managed(instance) as manager:
        manager.until(lambda: manager.states().get(str(later.mac)) == "ignored")
        assert manager.poke()["changes"] == []
        assert manager.states()[str(boot.mac)] == "configured"
    assert_same(before, instance.kernel())
    assert instance.unreachable(main, boot) == []


def test_an_eni_of_the_boot_that_is_attached_again_is_a_later_one(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first), vpc.attach(second, **MANY)
    instance.configure(IGNORE_LATER)
    instance.ec2net("refresh")
    vpc.detach(boot)
    again = vpc.attach(second, boot.name, mac=str(boot.mac), eni_id=str(boot.eni_id), device=1)
    instance.ec2net("start", again.name)
    assert standing(instance, again) == ("ignored", "later")
    assert marked(instance.kernel()) == []
    instance.configure()
    instance.ec2net("refresh")
    assert standing(instance, again) == ("configured", "later")
    assert instance.unreachable(main, again) == []


def test_enis_that_early_saw_belong_to_the_boot_and_a_later_pass_decides_nothing(
    instance: Instance, udev: Path
) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first), vpc.attach(second)
    for eni in (main, boot):
        (udev / f"n{index(instance, eni)}").touch()
    instance.configure(IGNORE_LATER)
    instance.ec2net("early")
    files = sorted(path.name for path in NETWORKD.iterdir())
    assert files == [
        *(f"70-{eni.name}.network" for eni in (main, boot)),
        "80-ec2net-later.network",
        "80-ec2net.network",
    ]
    shutil.rmtree(NETWORKD)
    shorten(instance)
    later = vpc.attach(second, "ens9")
    (udev / f"n{index(instance, later)}").touch()
    # as after an installation: ec2net knows that this ENI was not attached at boot
    instance.ec2net("early")
    assert not (NETWORKD / "70-ens9.network").exists()
    shutil.rmtree(NETWORKD)
    instance.ec2net("refresh")
    assert standing(instance, later) == ("ignored", "later")
    assert standing(instance, boot) == ("configured", "boot")


def test_early_does_not_manage_a_link_that_udev_marks_as_unmanaged(
    instance: Instance, udev: Path
) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, theirs = primary(vpc, first), vpc.attach(second)
    (udev / f"n{index(instance, main)}").touch()
    data = udev / f"n{index(instance, theirs)}"
    data.write_text("I:1\nE:ID_NET_DRIVER=veth\nE:ID_NET_MANAGED_BY=com.example.cni\nV:1\n")
    instance.ec2net("early")
    assert (NETWORKD / f"70-{main.name}.network").exists()
    assert not (NETWORKD / f"70-{theirs.name}.network").exists()
    shutil.rmtree(NETWORKD)
    instance.ec2net("refresh")
    assert standing(instance, theirs)[0] == "ignored"
    reason = instance.status()[str(theirs.mac)]["reason"]
    assert reason == "udev reports that com.example.cni manages it (ID_NET_MANAGED_BY)"
    assert marked(instance.kernel()) == []
    data.write_text("I:1\nE:ID_NET_DRIVER=veth\nV:1\n")
    instance.ec2net("refresh")
    assert instance.unreachable(main, theirs) == []


def index(instance: Instance, eni: Eni) -> int:
    command = ["cat", f"/sys/class/net/{eni.name}/ifindex"]
    return int(instance.guest.run(command).stdout)


def shorten(instance: Instance) -> None:
    """The seconds in which new ENIs still belong to the boot are over."""
    path = instance.run_dir / "at-boot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "until": 0}))


def test_the_kubernetes_profile_leaves_pods_and_their_enis_to_the_cni(instance: Instance) -> None:
    """R30, K-a: on the primary, on another ENI of the boot, and on one that the CNI attaches."""
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    instance.configure('profile = "kubernetes"\nipv4_prefix_mode = "local"\n')
    instance.ec2net("refresh")
    cni.add_table(vpc, boot)
    with ExitStack() as stack:
        pods = cni.three_pods(stack, vpc, main, boot)
        assert cni.dead(vpc, pods) == []
        later = vpc.attach(second, "ens9", **MANY)
        instance.ec2net("start", "ens9")
        cni.set_up(vpc, later)
        address = later.ipv4s[1]
        pods[address] = stack.enter_context(cni.pod(vpc, address, later, "four"))
        assert cni.dead(vpc, pods) == []
        before = instance.kernel()
        secondary = [a for eni in (main, boot, later) for a in (*eni.ipv4s[1:], *eni.ipv6s[1:])]
        prefixes = [p[n] for eni in (main, boot, later) for p in eni.prefixes() for n in (0, 7)]
        for _ in range(20):
            assert instance.refresh() == []
            assert cni.taken(vpc.guest, *secondary, *prefixes) == []
        assert_same(before, instance.kernel())
        assert cni.dead(vpc, pods) == []
    assert str(main.ipv4s[0]) in cni.locals_of(vpc.guest)
    assert standing(instance, later) == ("ignored", "later")
    for eni in (main, boot):
        for source in (eni.ipv4s[0], eni.ipv6s[0]):
            abroad = vpc.outside.address(source.version)
            assert instance.way(abroad, source) == eni.name
    assert vpc.dropped() == 0


def test_a_section_of_the_user_takes_precedence_over_the_profile(instance: Instance) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, boot = primary(vpc, first, **MANY), vpc.attach(second, **MANY)
    whole = f'[[eni]]\nmatch = {{ mac = "{boot.mac}" }}\nmanage = "full"\n'
    instance.configure(f'profile = "kubernetes"\n{whole}')
    instance.ec2net("refresh")
    assert cni.taken(vpc.guest, *main.ipv4s[1:], *main.ipv6s[1:]) == []
    assert instance.unreachable(boot) == []


def test_a_missing_feature_of_the_backend_is_reported_and_the_rest_is_applied(
    instance: Instance,
) -> None:
    vpc = instance.vpc
    first, second = subnets(vpc, 2)
    main, other = primary(vpc, first), vpc.attach(second, **MANY)
    instance.configure('[[eni]]\nmatch = { role = "secondary" }\ndns_default_route = "no"\n')
    said = instance.ec2net("refresh", status=1).stderr
    assert "ens6: backend netlink: dns_default_route: it does not configure DNS" in said
    assert said.count("dns_default_route: ") == 1
    assert instance.unreachable(main, other) == []
    assert "! ens6: backend netlink: dns_default_route: " in instance.ec2net("backends").stdout
