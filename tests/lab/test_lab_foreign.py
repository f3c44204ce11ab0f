# SPDX-License-Identifier: Apache-2.0
"""Foreign state is unchanged on hosts with a real network manager: rules, routes, addresses, files.

As tests/netns/test_foreign_untouched.py; ``EC2NET_SEED`` replays a failure.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from foreign_life import SETTINGS, Life
from foreign_state import BRIDGE, TUNNEL, Planter
from kernel_state import State
from lab_boot import Boot
from lab_files import ForeignFiles
from lab_instance import MANY, LabInstance

from ec2net.core.simulation.vpc.eni import Eni

pytestmark = pytest.mark.lab

MASKS = "/run/systemd/network"
CONFIG = "/etc/ec2net/ec2net.toml.d"

FILES = {
    # With another MAC from udev a bridge without ports loses its carrier, and its routes show
    # that.
    "/etc/systemd/network/00-bridges.link": (
        f"[Match]\nOriginalName={BRIDGE} {TUNNEL}\n[Link]\nMACAddressPolicy=none\n"
    ),
    # The distribution's file, for the primary when no file of ec2net is left.
    "/usr/lib/systemd/network/85-distribution.network": (
        "[Match]\nName=ens5\n[Network]\nDHCP=yes\nKeepConfiguration=yes\n"
        "IPv6DuplicateAddressDetection=0\n[DHCPv4]\nRouteMetric=512\n[IPv6AcceptRA]\nRouteMetric=512\n"
    ),
}


@dataclass(kw_only=True)
class Host(Life):
    """A booted host, whose daemon may act at any time."""

    instance: LabInstance
    files: ForeignFiles
    links: set[str] = field(default_factory=set)
    """The MACs of all ENIs so far."""

    def ec2net(self, *words: str) -> None:
        self.instance.host.ec2net(*words, check=False)

    def log(self) -> str:
        return self.instance.story()

    def remove_one(self, eni: Eni) -> None:
        self.instance.host.ec2net("remove", eni.name, "--force")

    def until_complete(self, eni: Eni) -> None:
        """Foreign routes in the ENI's table may take its traffic; then the ENI is degraded."""
        done = ("active", "failed")
        self.instance.host.wait_until(lambda: self.instance.unit_state(eni.name) in done, 60)

    def until_seen(self) -> None:
        """NetworkManager examines a link after udev has processed it."""
        host = self.instance.host
        host.run(["udevadm", "settle"])
        if self.instance.setting.backend == "networkmanager":
            told = ["nmcli", "-g", "DEVICE,STATE", "device"]
            host.wait_until(lambda: f"{TUNNEL}:connected" in host.run(told).stdout, 60)

    def seen(self) -> State:
        """Neither the network manager's objects nor its settings of an ENI's link count."""
        self.links |= {eni.name for eni in self.vpc.enis}
        state = super().seen()
        for subject in ("routes 4", "routes 6", "nexthops"):
            state[subject] = [line for line in state[subject] if not self._managers(line)]
        sysctls = state["sysctls"]
        state["sysctls"] = [line for line in sysctls if self.links.isdisjoint(line.split("/"))]
        return state

    def _managers(self, line: str) -> bool:
        """Leased, advertised or connected, by a link of an ENI, in main or parked."""
        item = json.loads(line)
        dst = item.get("dst", "")
        return (
            item.get("dev") in self.links
            and item.get("protocol") in ("2", "9", "16")
            and item.get("table", "254") in ("254", "9999")
            and not dst.startswith(("198.18.", "198.19.", "2001:db8:f"))
        )

    def check(self) -> None:
        super().check()
        self.files.check(self.story)

    def configure(self) -> str:
        text = self.chance.choice(SETTINGS)
        self.instance.host.write(f"{CONFIG}/30-life.toml", text)
        self._reload()
        return f"configure {text.strip() or 'the defaults'}"

    def switch_backend(self) -> str:
        """To the backend without a network manager, and back."""
        path = f"{CONFIG}/40-backend.toml"
        self.instance.host.write(path, 'backend = "netlink"\n')
        self._reload()
        self.check()
        self.instance.host.run(["rm", path])
        self._reload()
        return "switch to the netlink backend and back"

    def _reload(self) -> None:
        self.instance.host.run(["systemctl", "reload", "ec2net.service"])
        self.refresh()

    def restart(self) -> str:
        self.instance.host.run(["systemctl", "restart", "ec2net.service"])
        return "restart ec2net"

    def restart_manager(self) -> str:
        self.instance.setting.restart(self.instance.host)
        return "restart the network manager"

    def reload_manager(self) -> str:
        self.instance.setting.reload(self.instance.host)
        return "reload the network manager"

    def trigger_udev(self) -> str:
        self.instance.host.run(["udevadm", "trigger", "--settle", "--subsystem-match=net"])
        return "trigger udev"

    def write_files(self) -> str:
        self.files.write()
        return "an administrator writes files"

    def settle(self) -> None:
        """With the default settings, and a double of each object of ec2net, no change is due."""
        self.instance.host.write(f"{CONFIG}/30-life.toml", "")
        self._reload()
        if len(self.here) < 2:
            self.story.append(self.attach())
        self.story += [self.refresh(), self.imitate(), self.refresh()]
        self.check()
        done = self.instance.host.ec2net("refresh", "--json", check=False)
        assert json.loads(done.stdout)["changes"] == [], [*self.story, done.stdout]

    def uninstall(self) -> None:
        """No file of ec2net is left in the folders that network managers read."""
        units = ["ec2net.service", "ec2net-early.service", "ec2net-refresh.timer"]
        self.instance.host.run(["systemctl", "disable", "--now", *units])
        super().uninstall()
        left = [path for path in self.instance.files() if path not in self.files.paths]
        ours = [path for path in left if path.endswith((".network", ".conf"))]
        assert [path for path in ours if not path.startswith(f"{MASKS}/80-ec2net")] == []

    def events(self) -> list[Callable[[], str]]:
        """Each kind, in any order."""
        kinds = [
            self.attach,
            self.assign,
            self.assign_what_others_hold,
            self.unassign,
            self.detach,
            self.move,
            self.by_hand,
            self.configure,
            self.switch_backend,
            self.restart,
            self.restart_manager,
            self.reload_manager,
            self.trigger_udev,
            self.write_files,
            self.take_away,
            self.imitate,
        ]
        return self.chance.sample(kinds, len(kinds))


def attach(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, ipv4=2, ipv6=2)
    instance.vpc.attach(instance.two, **MANY)


def test_foreign_state_is_the_same_after_each_event_and_after_all_are_removed(
    boot: Boot,
) -> None:
    seed = int(os.environ.get("EC2NET_SEED", "20261125"))
    print(f"seed {seed}")
    chance = random.Random(seed)
    with boot(before=attach, files=FILES) as instance:
        vpc = instance.vpc
        planter = Planter(vpc.guest, chance, obstacles=0)
        files = ForeignFiles(instance, chance)
        life = Host(vpc, chance, planter, [f"seed {seed}"], instance=instance, files=files)
        files.write()
        life.begin()
        life.refresh()
        life.check()
        life.happen(life.events(), refreshed=0.3)
        life.settle()
        life.uninstall()
