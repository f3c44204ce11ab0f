# SPDX-License-Identifier: Apache-2.0
"""What a handover reads and writes: resolv.conf, the record, DHCP clients, links of units."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from handover_host import BY_NETWORKMANAGER, DHCLIENT, host
from patience import HANGS

from ec2net.core.migration import clients, record, resolv_conf
from ec2net.core.migration.clients import Clients, Fate, Signal
from ec2net.core.migration.plan import SetSysctl, before
from ec2net.core.migration.resolv_conf import TARGET, GiveBack, Kept, Kind, Resolve, look
from ec2net.core.migration.steps import Link, StepFailed, perform
from ec2net.core.model.errors import StateError
from ec2net.core.runtime.deadline import Deadline

SOON = Deadline(10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    return tmp_path / "aside"


def as_file(path: Path) -> None:
    path.write_bytes(b"nameserver 10.0.0.2\n\xff")
    path.chmod(0o604)
    os.utime(path, (1, 2))


def as_link(path: Path) -> None:
    path.symlink_to("elsewhere/that/is/not/there")


def told(path: Path) -> tuple[object, ...]:
    stat = path.lstat()
    content = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return (stat.st_mode, stat.st_uid, stat.st_ino, stat.st_mtime, content)


@pytest.mark.parametrize("make", [as_file, as_link], ids=["a file", "a dangling link"])
def test_resolv_conf_comes_back_as_it_was(
    path: Path, aside: Path, make: Callable[[Path], None]
) -> None:
    """Bytes, mode, owner, inode, time; done twice each way nothing else happens."""
    make(path)
    was = told(path)
    assert look(path, aside).kind is Kind.OTHER
    assert look(path, aside).problem == ""
    for _ in range(2):
        Resolve(True, path, aside).do(SOON)
        assert os.readlink(path) == TARGET
        assert (look(path, aside).kind, look(path, aside).aside) == (Kind.RESOLVEDS, Kept.ANOTHER)
    for _ in range(2):
        GiveBack(path, aside).do(SOON)
        assert told(path) == was
    assert look(path, aside).aside is Kept.NOTHING


def test_a_kill_before_the_exchange_is_seen(path: Path, aside: Path) -> None:
    as_file(path)
    was = told(path)
    os.link(path, aside)
    assert look(path, aside).aside is Kept.THE_SAME
    assert look(path, aside).problem == ""
    Resolve(True, path, aside).do(SOON)
    GiveBack(path, aside).do(SOON)
    assert told(path) == was


def test_what_was_kept_is_never_overwritten(path: Path, aside: Path) -> None:
    """Upstream's backup was, at every configuration of its package."""
    as_file(path)
    aside.write_text("the first one")
    assert "already" in look(path, aside).problem


def test_nothing_there_is_replaced_too(path: Path, aside: Path) -> None:
    assert look(path, aside).kind is Kind.NONE
    Resolve(False, path, aside).do(SOON)
    assert os.readlink(path) == TARGET
    assert not aside.exists()


def test_a_folder_is_not_replaced(path: Path, aside: Path) -> None:
    path.mkdir()
    assert "neither" in look(path, aside).problem


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_an_immutable_file_is_not_replaced(path: Path, aside: Path) -> None:
    as_file(path)
    if subprocess.run(["chattr", "+i", path], check=False, timeout=10).returncode != 0:
        pytest.xfail("this file system has no such flags")
    try:
        assert look(path, aside).problem == "it is immutable"
    finally:
        subprocess.run(["chattr", "-i", path], check=True, timeout=10)


def test_the_record_says_again_what_it_was_told(tmp_path: Path) -> None:
    was = before(
        host(BY_NETWORKMANAGER, active=("a.service",), clients=Clients((DHCLIENT,))), "now"
    )
    where = tmp_path / "state/adopted.json"
    assert record.read(where) is None
    record.write(was, where)
    assert where.stat().st_mode & 0o777 == 0o600
    again = record.read(where)
    assert again is not None
    assert again.to_dict() == was.to_dict()
    assert again.clients[0].words == DHCLIENT.words
    record.forget(where)
    record.forget(where)
    assert not where.parent.exists()


@pytest.mark.parametrize("spoil", ["", "{", "[]", "{}", "null", "cut", "version", "words", "link"])
def test_a_record_that_is_no_record_is_told(tmp_path: Path, spoil: str) -> None:
    """And never taken for a host that was nothing before."""
    where = tmp_path / "adopted.json"
    record.write(before(host(BY_NETWORKMANAGER, clients=Clients((DHCLIENT,))), "now"), where)
    data = json.loads(where.read_text())
    if spoil == "version":
        data["version"] = 2
    elif spoil == "words":
        data["clients"][0]["words"] = []
    elif spoil == "link":
        data["links"] = {"/etc/systemd/system/x": None}
    text = where.read_text()[:-40] if spoil == "cut" else json.dumps(data)
    where.write_text(text if spoil in ("cut", "version", "words", "link") else spoil)
    with pytest.raises(StateError, match="does not say what the host was") as failed:
        record.read(where)
    assert "move it away" in failed.value.remedy


def test_a_dhcp_client_is_found_suspended_and_killed(tmp_path: Path) -> None:
    program = shutil.copy("/bin/cat", tmp_path / "dhclient")
    name = f"ens77.{os.getpid()}"  # the same test may run beside this one
    words = [str(program), "-", "/run/dhclient.ens5.pid", name]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, bufsize=0) as running:
        try:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(b"x")  # Popen returns before execve(2) has set name and arguments
            assert running.stdout.read(1) == b"x"
            (found,) = clients.look([name]).of_enis
            assert (found.pid, found.link, found.suspended) == (running.pid, name, False)
            assert clients.look([name[:-1]]).of_enis == ()
            Signal(Fate.SUSPEND, found).do(SOON)
            os.waitpid(running.pid, os.WUNTRACED)
            assert clients.look([name]).of_enis[0].suspended
            Signal(Fate.RESUME, found).do(SOON)
            Signal(Fate.KILL, found).do(SOON)
            assert running.wait(HANGS) == -9
            Signal(Fate.KILL, found).do(SOON)  # it has ended
        finally:
            running.kill()


def client_process(
    proc: Path, pid: str, uids: str, *, program: str = "/sbin/dhclient", **namespaces: str
) -> None:
    """A process by the name of a DHCP client."""
    (proc / pid / "ns").mkdir(parents=True)
    for kind in ("net", "pid"):
        (proc / pid / "ns" / kind).symlink_to(namespaces.get(f"of_{kind}", f"{kind}:[1]"))
    (proc / pid / "exe").symlink_to(program)
    (proc / pid / "comm").write_text("dhclient\n")
    (proc / pid / "cmdline").write_bytes(b"/tmp/dhclient\0ens5\0")
    (proc / pid / "status").write_text(f"Name:\tdhclient\nUid:\t{uids}\nGid:\t0\t0\t0\t0\n")


@pytest.mark.parametrize(
    ("uids", "other", "found"),
    [
        ("{0}\t{0}\t{0}\t{0}", {}, True),
        ("65534\t65534\t65534\t65534", {}, False),
        ("65534\t{0}\t{0}\t{0}", {}, False),
        ("{0}\t{0}\t{0}\t{0}", {"of_pid": "pid:[2]"}, False),
        ("{0}\t{0}\t{0}\t{0}", {"of_net": "net:[2]"}, False),
        ("{0}\t{0}\t{0}\t{0}", {"program": "/usr/bin/sudo"}, False),
        ("{0}\t{0}\t{0}\t{0}", {"program": "/sbin/dhclient (deleted)"}, True),
    ],
)
def test_only_a_process_of_ones_own_is_a_dhcp_client(
    uids: str, other: dict[str, str], found: bool, tmp_path: Path
) -> None:
    """Anybody can call his program so, and what is recorded of it is run by root when it is given back."""
    client_process(tmp_path, "self", "0")
    client_process(tmp_path, "77", uids.format(os.geteuid()), **other)
    client_process(tmp_path, "78", "65534\t65534\t65534\t65534")
    (tmp_path / "78/comm").write_bytes(b"\xff\n")  # prctl(2) takes any name
    assert [client.pid for client in clients.look(["ens5"], tmp_path).of_enis] == [77] * found


def test_a_link_is_put_in_place_of_a_link_and_of_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "wants/x.service"
    for target in ("/dev/null", "/usr/lib/x.service", "/usr/lib/x.service"):
        perform((Link(str(place), target),), SOON, subject="adopt")
        assert os.readlink(place) == target
    assert os.listdir(place.parent) == ["x.service"]
    place.unlink()
    place.write_text("an administrator's")
    with pytest.raises(StepFailed, match="no symbolic link"):
        perform((Link(str(place), "/dev/null"),), SOON, subject="adopt")
    assert place.read_text() == "an administrator's"


def test_a_setting_of_a_link_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    SetSysctl(str(tmp_path / "gone/accept_ra"), "1").do(SOON)
    (tmp_path / "accept_ra").write_text("0")
    SetSysctl(str(tmp_path / "accept_ra"), "1").do(SOON)
    assert (tmp_path / "accept_ra").read_text() == "1"


def test_a_mount_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_file(path)
    monkeypatch.setattr(resolv_conf, "_is_mounted", lambda _: True)
    assert "mounted" in look(path, path.with_name("aside")).problem
