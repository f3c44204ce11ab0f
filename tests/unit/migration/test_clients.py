# SPDX-License-Identifier: Apache-2.0
"""DHCP clients of a host: found by their own process, suspended and ended."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from patience import HANGS

from ec2net.core.migration import clients
from ec2net.core.migration.clients import Signal
from ec2net.core.runtime.deadline import Deadline

SOON = Deadline(10)


def test_a_dhcp_client_is_found_suspended_and_killed(tmp_path: Path) -> None:
    program = shutil.copy("/bin/cat", tmp_path / "dhclient")
    name = f"ens77.{os.getpid()}"  # the same test may run at the same time
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
            Signal(signal.SIGSTOP, found).do(SOON)
            os.waitpid(running.pid, os.WUNTRACED)
            assert clients.look([name]).of_enis[0].suspended
            Signal(signal.SIGCONT, found).do(SOON)
            Signal(signal.SIGKILL, found).do(SOON)
            assert running.wait(HANGS) == -9
            Signal(signal.SIGKILL, found).do(SOON)  # the process has ended
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
def test_only_a_process_of_the_same_user_is_a_dhcp_client(
    uids: str, other: dict[str, str], found: bool, tmp_path: Path
) -> None:
    """Any user can name a program like this, and root runs the recorded command when the host is
    given back."""
    client_process(tmp_path, "self", "0")
    client_process(tmp_path, "77", uids.format(os.geteuid()), **other)
    client_process(tmp_path, "78", "65534\t65534\t65534\t65534")
    (tmp_path / "78/comm").write_bytes(b"\xff\n")  # prctl(2) takes any name
    assert [client.pid for client in clients.look(["ens5"], tmp_path).of_enis] == [77] * found
