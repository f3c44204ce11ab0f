# SPDX-License-Identifier: Apache-2.0
"""How ``refresh`` pokes the daemon, and is answered."""

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ec2net.core.daemon.control import CLIENTS, ControlSocket, poke
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline, readable
from ec2net.core.state.run_dir import RunDir

LIMIT = 10.0


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "state")


@pytest.fixture
def control(run: RunDir) -> Iterator[ControlSocket]:
    with ControlSocket(run) as listening:
        yield listening


class Client(threading.Thread):
    """Pokes, and keeps what it is answered."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self._run_dir = run
        self.answers: list[dict[str, Any] | None] = []
        self.start()

    def run(self) -> None:
        self.answers.append(poke(self._run_dir, Deadline(LIMIT, "test")))


def poked(control: ControlSocket) -> bool:
    assert readable([control.fileno()], LIMIT)
    return control.poked()


def test_a_client_that_pokes_gets_the_answer_of_the_next_poll(
    run: RunDir, control: ControlSocket
) -> None:
    assert not control.poked()
    client = Client(run)
    assert poked(control)
    document = {"changes": ["+ rule"], "exit_status": 1, "long": "x" * 100_000}
    control.answer(document)
    client.join(LIMIT)
    assert client.answers == [document]
    assert not control.poked()


def test_a_client_of_an_earlier_version_gets_the_answer(
    run: RunDir, control: ControlSocket
) -> None:
    """It sends a line and takes ECONNRESET for a daemon that ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(LIMIT)
        client.connect(str(run.path / "control"))
        client.send(b"refresh\n")
        assert poked(control)
        control.answer({"number": 1})
        assert client.recv(1 << 16) == b'{"number": 1}'
        assert client.recv(1 << 16) == b""


@pytest.mark.parametrize("reads", [True, False])
def test_a_daemon_may_leave_the_request_unread(run: RunDir, reads: bool) -> None:
    """One of an earlier version requires it, and takes an absent one for a client that left."""
    run.path.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.settimeout(LIMIT)
        listening.bind(str(run.path / "control"))
        listening.listen()
        client = Client(run)
        daemon, _ = listening.accept()
        with daemon:
            assert readable([daemon.fileno()], LIMIT), "no request"
            if reads:
                assert daemon.recv(8) == b"refresh\n"
            daemon.sendall(b'{"number": 1}')
        client.join(LIMIT)
    assert client.answers == [{"number": 1}]


def test_all_waiting_clients_get_one_answer(run: RunDir, control: ControlSocket) -> None:
    clients = [Client(run) for _ in range(3)]
    seen = 0
    while seen < len(clients):
        seen += poked(control)
        seen = len(control._clients)
    control.answer({"number": 1})
    control.answer({"number": 2})
    for client in clients:
        client.join(LIMIT)
    assert [client.answers for client in clients] == [[{"number": 1}]] * 3


def test_a_client_that_disconnects_does_not_affect_other_clients(
    run: RunDir, control: ControlSocket
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.connect(str(run.path / "control"))
    assert poked(control)
    client = Client(run)
    assert poked(control)
    control.answer({"number": 1})
    client.join(LIMIT)
    assert client.answers == [{"number": 1}]


def test_clients_beyond_the_limit_are_refused(run: RunDir, control: ControlSocket) -> None:
    waiting = []
    for _ in range(CLIENTS):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(run.path / "control"))
        waiting.append(client)
        assert poked(control)
    late = Client(run)
    assert readable([control.fileno()], LIMIT)
    assert not control.poked()
    late.join(LIMIT)
    assert late.answers == [None]
    for client in waiting:
        client.close()


def test_without_a_daemon_the_client_finds_no_socket(run: RunDir) -> None:
    assert poke(run, Deadline(LIMIT, "test")) is None
    with ControlSocket(run):
        pass
    assert not (run.path / "control").exists()
    assert poke(run, Deadline(LIMIT, "test")) is None


def test_a_daemon_that_does_not_answer_is_an_error_at_the_deadline(
    run: RunDir, control: ControlSocket
) -> None:
    with pytest.raises(Ec2netError, match=r"ec2net\.service: the daemon does not answer"):
        poke(run, Deadline(0.05, "test"))


def test_only_root_may_poke_and_a_stale_socket_is_replaced(run: RunDir) -> None:
    run.path.mkdir()
    (run.path / "control").write_text("left by a manager that was killed")
    with ControlSocket(run):
        mode = (run.path / "control").stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
