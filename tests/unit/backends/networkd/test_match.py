# SPDX-License-Identifier: Apache-2.0
"""The foreign file that networkd will use for a new link: an answer only when it is certain."""

from dataclasses import replace
from pathlib import Path

import pytest

from ec2net.backends.networkd.match import NOBODYS, Foreseen, foreseen
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac

LINK = Link(3, "ens6", Mac.parse("06:53:e1:d8:f9:29"), "ena", "", 9001, True, 0, permanent=True)
UNCERTAIN = Foreseen(certain=False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """/etc and /run."""
    found = tmp_path / "etc", tmp_path / "run"
    for folder in found:
        folder.mkdir()
    return found


@pytest.mark.parametrize(
    ("match", "verdict"),
    [
        ("[Match]\nName=ens6\n", True),
        ("[Match]\nName=eth0 ens*\n", True),
        ("[Match]\nName=ens5\n", False),
        ("[Match]\nMACAddress=06:53:E1:D8:F9:29\n", True),
        ("[Match]\nPermanentMACAddress=06-53-e1-d8-f9-29\nName=en*\n", True),
        ("[Match]\nPermanentMACAddress=06:53:e1:d8:f9:30\n", False),
        ("[Match]\nDriver=ena\n", True),
        ("[Match]\nType=wlan\n", False),
        ("[Match]\n# Name=no\nName=ens6\n[Network]\nDHCP=yes\nName=ens5\n", True),
        ("[Network]\nDHCP=yes\n", True),
        ("[Match]\nName=!ens6\n", None),
        ("[Match]\nName=ens5\nName=ens6\n", None),
        ("[Match]\nName=\n", None),
        ("[Match]\nProperty=A=1\n", None),
        ("[Match]\nVirtualization=container\n", None),
    ],
)
def test_one_network_file_matches_by_its_own_keys(
    folders: tuple[Path, Path], match: str, verdict: bool | None
) -> None:
    path = folders[1] / "10-netplan-ens6.network"
    path.write_text(match)
    expected = {True: Foreseen(certain=True, file=path), False: NOBODYS, None: UNCERTAIN}
    assert foreseen(LINK, folders) == expected[verdict]


def test_a_permanent_mac_in_a_file_matches_no_link_without_one(folders: tuple[Path, Path]) -> None:
    """systemd-networkd 252 and 257: a veth link has no permanent MAC."""
    (folders[1] / "10-netplan-ens6.network").write_text(
        f"[Match]\nPermanentMACAddress={LINK.mac}\n"
    )
    assert foreseen(replace(LINK, permanent=False), folders) == NOBODYS


def test_the_first_matching_name_is_used_and_a_mask_in_etc_counts(
    folders: tuple[Path, Path],
) -> None:
    etc, run = folders
    assert foreseen(LINK, folders) == NOBODYS
    (run / "50-b.network").write_text("[Match]\nName=ens6\n")
    (etc / "60-c.network").write_text("[Match]\nName=ens6\n")
    assert foreseen(LINK, folders).file == run / "50-b.network"
    (etc / "50-b.network").write_text("[Match]\nName=ens6\n")
    assert foreseen(LINK, folders).file == etc / "50-b.network"
    (etc / "50-b.network").unlink()
    (etc / "50-b.network").symlink_to("/dev/null")
    assert foreseen(LINK, folders).file == etc / "60-c.network"
    (run / "40-a.network").write_text("[Match]\nHost=x\n")
    assert foreseen(LINK, folders) == UNCERTAIN


def test_ec2nets_files_and_drop_ins_are_not_foreign(folders: tuple[Path, Path]) -> None:
    etc, run = folders
    (run / "70-ens6.network").write_text(
        f"# Made by ec2net for ens6 {LINK.mac}\n[Match]\nName=ens6\n"
    )
    assert foreseen(LINK, folders) == NOBODYS
    path = run / "10-netplan-ens6.network"
    path.write_text("[Match]\nName=ens6\n")
    (run / f"{path.name}.d").mkdir()
    (run / f"{path.name}.d/50-ec2net.conf").write_text("[Network]\n")
    assert foreseen(LINK, folders).file == path
    (etc / f"{path.name}.d").mkdir()
    (etc / f"{path.name}.d/10-match.conf").write_text("[Match]\nName=ens5\n")
    assert foreseen(LINK, folders) == UNCERTAIN


def test_networkd_decides_where_a_file_is_unreadable(
    folders: tuple[Path, Path],
) -> None:
    """If ec2net ignored such a file, its own file would replace it."""
    etc, run = folders
    (run / "60-b.network").write_text("[Match]\nName=ens6\n")
    (etc / "50-a.network").symlink_to(etc / "gone")
    assert foreseen(LINK, folders) == UNCERTAIN
