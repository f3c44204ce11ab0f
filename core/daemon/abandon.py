# SPDX-License-Identifier: Apache-2.0
"""Calls of a third party's backend that may hang: ec2net abandons them at their deadline and
reports them.

The backends of this project use the given deadline in every wait. Other backends may not, and a
hanging one must not stop the daemon. Its calls therefore run in a separate thread, at most one per
backend.
"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from ec2net.core.model.errors import DeadlineExceeded, PluginError
from ec2net.core.plugins.backend import Backend
from ec2net.core.plugins.guard import GuardedBackend
from ec2net.core.runtime.deadline import Deadline

T = TypeVar("T")

GRACE = 1.0
"""Seconds beyond its deadline for a backend to say itself what took so long."""

QUICK = 5.0
"""Seconds for the verbs that have no deadline: they must not wait for anything."""


_last: dict[str, tuple[threading.Thread, str]] = {}
"""The last call of each backend, with its verb. A reload creates new backends, and ends no call."""


class AbandonableBackend(GuardedBackend):
    """Each call in a thread; a call that does not return is left behind."""

    @classmethod
    def unless_built_in(cls, backend: Backend, built_in: bool) -> GuardedBackend:
        return GuardedBackend(backend) if built_in else cls(backend)

    def _call(self, verb: str, call: Callable[[], T], deadline: Deadline | None) -> T:
        """Raises ``PluginError`` at the deadline, and as long as an earlier call has not ended."""
        name = self.kind.name
        if name in _last and _last[name][0].is_alive():
            raise self._hangs(
                f"still hangs in {_last[name][1]}; ec2net does not call this plugin again"
            )
        done: list[T] = []
        failed: list[BaseException] = []
        reader, writer = os.pipe2(os.O_CLOEXEC)

        def work() -> None:
            try:
                done.append(call())
            except BaseException as error:  # noqa: BLE001 (raised again in the waiting thread)
                failed.append(error)
            finally:
                os.close(writer)  # turns the reader readable

        thread = threading.Thread(target=work, name="backend", daemon=True)
        _last[name] = thread, verb
        seconds = QUICK if deadline is None else deadline.remaining() + GRACE
        thread.start()
        try:
            Deadline(seconds, verb).wait(reader)
        except DeadlineExceeded as error:
            raise self._hangs(f"did not return from {verb} within {seconds:.3g} s") from error
        finally:
            os.close(reader)
        thread.join(GRACE)  # it is at its end
        if failed:
            raise failed[0]
        return done[0]

    def _hangs(self, problem: str) -> PluginError:
        return PluginError(
            f"{problem}: the call was abandoned, and its ENIs are unchanged",
            subject=f"backend {self.kind.name}",
            remedy="this is a fault of the plugin: report it to its authors, then run "
            "'systemctl restart ec2net.service'",
        )
