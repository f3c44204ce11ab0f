# SPDX-License-Identifier: Apache-2.0
"""The script of ec2net-early.service: the files of ``ec2net early`` on a plain host, else the command."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import TOP

from ec2net.backends.networkd.render import network_file, own_path
from ec2net.core.config.schema import example_text
from ec2net.core.config.settings import Config
from ec2net.core.decide.eni_intent import early_intent
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkRef

NETWORKS = Path("run/systemd/network")
COMMAND = "ec2net early\n"


@dataclass(frozen=True)
class Eni:
    """A link in /sys and in udev's database. ``how``: addr_assign_type in /sys."""

    index: int
    name: str
    driver: str = "ena"
    how: int = 0
    more: str = ""

    @property
    def mac(self) -> str:
        return f"06:ec:02:ab:cd:{self.index:02x}"


ONE, TWO = Eni(2, "ens5"), Eni(11, "ens6")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in (NETWORKS, Path("run/udev/data"), Path("etc/ec2net/ec2net.toml.d")):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def put(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def plug(root: Path, *enis: Eni, kind: int = 1) -> None:
    for eni in enis:
        values = {"type": kind, "ifindex": eni.index, "address": eni.mac}
        for name, value in {**values, "addr_assign_type": eni.how}.items():
            put(root, f"sys/class/net/{eni.name}/{name}", f"{value}\n")
        put(root, f"run/udev/data/n{eni.index}", f"E:ID_NET_DRIVER={eni.driver}\n{eni.more}")


def early(root: Path) -> str:
    command = ["sh", str(TOP / "systemd/early"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def rendered(eni: Eni, *, primary: bool) -> str:
    settings = Config()
    link = LinkRef(eni.index, eni.name)
    intent = early_intent(Mac(eni.mac), link, primary, settings.eni, settings.numbers)
    return network_file(own_path(eni.name), intent, permanent=eni.how == 0).content


@pytest.mark.parametrize("how", [0, 3])
def test_the_files_of_the_script_equal_those_of_the_command(root: Path, how: int) -> None:
    """A difference of one byte would cost a reload at each boot. The first ENI has the lowest index,
    by number and not by name."""
    driver = "veth" if how else "ena"
    one, two = Eni(11, "ens5", driver, how), Eni(2, "ens6", driver, how)
    plug(root, one, two)
    plug(root, Eni(1, "lo"), kind=772)
    plug(root, Eni(3, "docker0", "bridge"))
    put(root, "sys/class/net/bonding_masters")
    put(root, "usr/lib/ec2net/ec2net.toml", example_text())
    for folder in ("etc/systemd/system", "etc/systemd/system/multi-user.target.wants"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "NetworkManager.service").symlink_to("/dev/null")
    if how:
        put(root, "etc/ec2net/ec2net.toml.d/10.toml", '[links]\ndrivers = ["veth"]\n')
    assert early(root) == ""
    written = {path.name: path for path in (root / NETWORKS).iterdir()}
    masks = {"80-ec2net.network", "80-ec2net-later.network"}
    assert written.keys() == {"70-ens5.network", "70-ens6.network", *masks}
    assert {os.readlink(written[name]) for name in masks} == {"/dev/null"}
    assert written["70-ens6.network"].read_text() == rendered(two, primary=True)
    assert written["70-ens5.network"].read_text() == rendered(one, primary=False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/ec2net/ec2net.toml", 'mtu = "keep"\n'),
        ("etc/ec2net/ec2net.toml.d/20.toml", '[[eni]]\nmanage = "ignore"\n'),
        ("run/ec2net/ec2net.toml.d/20.toml", '[links]\ndrivers = ["ena", "veth"]\n'),
        ("etc/ec2net/ec2net.toml", 'drivers = ["ena"]\n'),
        ("etc/ec2net/ec2net.toml", 'profile = "kubernetes"\n'),
        ("etc/systemd/network/10-mine.network", "[Match]\nName=eth9\n"),
        ("run/systemd/network/10-netplan-ens5.network", "[Match]\nName=ens5\n"),
        ("run/systemd/network/10-netplan-ens5.network.d/x.conf", ""),
        ("run/systemd/netif/links/2", ""),
        ("run/ec2net/at-boot.json", "{}"),
        ("etc/systemd/system/multi-user.target.wants/NetworkManager.service", ""),
        ("usr/lib/systemd/system/policy-routes@.service", ""),
        ("usr/lib/udev/rules.d/99-vpc-policy-routes.rules", ""),
        ("usr/lib/systemd/system/nm-cloud-setup.timer", ""),
        ("usr/lib/systemd/system/cloud-netconfig.service", ""),
    ],
)
def test_a_host_with_a_setting_a_file_or_another_tool_gets_the_command(
    root: Path, path: str, text: str
) -> None:
    plug(root, ONE, TWO)
    put(root, path, text)
    assert early(root) == COMMAND
    assert not list((root / NETWORKS).glob("70-*"))


@pytest.mark.parametrize(
    "other",
    [
        Eni(3, "ens6", how=3),
        Eni(3, "ens 6"),
        Eni(3, "ens6", more="E:ID_NET_MANAGED_BY=org.example\n"),
        Eni(258, "ens6"),
    ],
    ids=["changed MAC", "odd name", "another owner", "the MAC of the first ENI"],
)
def test_a_link_that_needs_judgement_gets_the_command(root: Path, other: Eni) -> None:
    plug(root, ONE, other)
    if other.index > 255:
        put(root, f"sys/class/net/{other.name}/address", f"{ONE.mac}\n")
    assert early(root) == COMMAND


def test_the_script_waits_until_udev_is_done_with_the_links(root: Path) -> None:
    plug(root, ONE, TWO)
    data = root / "run/udev/data/n11"
    text = data.read_text()
    data.unlink()
    command = ["sh", str(TOP / "systemd/early"), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        with pytest.raises(subprocess.TimeoutExpired):
            script.wait(0.2)
        assert not list((root / NETWORKS).iterdir())
        data.write_text(text)
        assert script.wait(60) == 0
    assert (root / NETWORKS / "70-ens6.network").exists()
