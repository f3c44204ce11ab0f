# SPDX-License-Identifier: Apache-2.0
"""A TCP service that sends each client its address and the address that it reached."""

import contextlib
import selectors
import socket
import threading

from ec2net.core.simulation.vpc.namespace import Namespace

PORT = 7007
_BACKLOG = 512


class EchoService:
    """Listens on the wildcard of both families in any number of namespaces, with one thread.

    The answer to a connection is ``CLIENT LOCAL\\n``, two addresses as text.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="vpc-echo", daemon=True)
        self._thread.start()

    def listen(self, namespace: Namespace) -> None:
        """Serve in this namespace too."""
        for listener in namespace.call(_listeners):
            # epoll takes new descriptors while another thread waits on it (epoll(7)).
            self._selector.register(listener, selectors.EVENT_READ)

    def close(self) -> None:
        self._wake.close()
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:  # ends when close() closes the other end of _woken
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                assert isinstance(key.fileobj, socket.socket)
                _answer(key.fileobj)


def _listeners() -> list[socket.socket]:
    listeners = []
    for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((wildcard, PORT))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        listeners.append(listener)
    return listeners


def _answer(listener: socket.socket) -> None:
    # The client may have disconnected by now, which is no error here.
    with contextlib.suppress(OSError):
        connection, client = listener.accept()
        with connection:
            local = connection.getsockname()
            connection.send(f"{client[0]} {local[0]}\n".encode())
