# SPDX-License-Identifier: Apache-2.0
"""Files that systemd-networkd has not read yet."""

from pathlib import Path

from eni_facts import mac

from ec2net.backends.networkd.files import FOLDER, NetworkFile
from ec2net.backends.networkd.unread import Unread, UnreadFiles
from ec2net.core.live.owned_file import HEADER
from ec2net.core.state.run_dir import RunDir

FILES = [
    NetworkFile(FOLDER / f"70-ens{n + 5}.network", f"{HEADER} ens{n + 5} {mac(n)}\n")
    for n in range(2)
]


def test_each_unread_file_is_a_separate_item_until_a_reload(tmp_path: Path) -> None:
    """Another process finds them, since the one that wrote them may have been killed."""
    UnreadFiles(RunDir(tmp_path)).note(FILES[:1])
    UnreadFiles(RunDir(tmp_path)).note(FILES[1:])
    found = UnreadFiles(RunDir(tmp_path)).all()
    assert set(found) == {Unread(file.path, file.owner) for file in FILES}
    identities = {one.identity for one in found} | {file.identity for file in FILES}
    assert len(identities) == 4  # the file itself is no such item either
    UnreadFiles(RunDir(tmp_path)).clear()
    assert UnreadFiles(RunDir(tmp_path)).all() == ()
