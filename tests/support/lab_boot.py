# SPDX-License-Identifier: Apache-2.0
"""How tests boot a host of their setting, and what they compare after it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from kernel_state import assert_same, differences
from lab_host import HostError
from lab_instance import LabInstance


class Boot(Protocol):
    """``booted`` with the setting filled in."""

    def __call__(self, **arguments: Any) -> AbstractContextManager[LabInstance]: ...


def rules_and_routes(state: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rules and routes: a reboot creates the links again."""
    return {
        subject: lines if subject.startswith(("rules", "routes")) else []
        for subject, lines in state.items()
    }


def assert_ends_as(instance: LabInstance, before: dict[str, list[str]]) -> None:
    """Wait until rules and routes equal ``before``: an IPv6 lease, and its route, may arrive after
    every address works."""
    wanted = rules_and_routes(before)
    with suppress(HostError):  # the comparison below shows the differences
        instance.host.wait_until(
            lambda: not differences(wanted, rules_and_routes(instance.kernel())), 60
        )
    assert_same(wanted, rules_and_routes(instance.kernel()))


def mtus(instance: LabInstance, links: Iterable[str]) -> dict[str, int]:
    """By link, in bytes."""
    return {link: instance.host.ip("link", "show", link)[0]["mtu"] for link in links}
