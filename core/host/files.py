# SPDX-License-Identifier: Apache-2.0
"""The host's files, links, folders and units, injected: tests give a table, production the host."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from ec2net.core.host.systemctl import BOOTED, working_units
from ec2net.core.model.facts import Link
from ec2net.core.runtime.command import CommandFailed
from ec2net.core.runtime.deadline import Deadline

_log = logging.getLogger("ec2net.host")

_LARGEST = 65536
"""Bytes of a file that are read: what is looked at has some hundred."""


def _read_file(path: str) -> str | None:
    # Not blocking: the state files are other daemons', and a FIFO would be waited for.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _LARGEST).decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _list_folder(path: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return ()


_SYSTEMCTL_SECONDS = 2.0


def _working_units(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """None are reported where systemd does not run the host or does not answer."""
    if not BOOTED.is_dir():
        return ()
    try:
        return working_units(patterns, Deadline(_SYSTEMCTL_SECONDS, "systemctl list-units"))
    except CommandFailed as error:
        _log.warning("systemctl list-units: %s; ec2net cannot see timers of other tools", error)
        return ()


@dataclass(frozen=True, slots=True)
class Environment:
    """The files, links and folders of the host. An unreadable one is None."""

    read_file: Callable[[str], str | None] = _read_file
    read_link: Callable[[str], str | None] = _read_link
    list_folder: Callable[[str], tuple[str, ...]] = _list_folder
    """The names in a folder; none for what is no folder."""
    eni_links: tuple[Link, ...] = ()
    """The links of all ENIs: who has one may be meant to have the others."""
    working_units: Callable[[tuple[str, ...]], tuple[str, ...]] = _working_units
    """The units of these patterns that are active or have a job, as systemd says; runs systemctl."""

    def once(self) -> "Environment":
        """The same, but each thing is read once: what one look sees does not change under it."""
        return replace(
            self,
            read_file=cache(self.read_file),
            read_link=cache(self.read_link),
            list_folder=cache(self.list_folder),
            working_units=cache(self.working_units),
        )

    def keys(self, path: str) -> dict[str, str]:
        """A file of ``KEY=value`` lines (os-release, networkd's and NetworkManager's state)."""
        text = self.read_file(path) or ""
        pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip().strip('"') for key, value in pairs}

    @property
    def eni_names(self) -> tuple[str, ...]:
        """Every name of every ENI's link, each link's own before its alternative ones."""
        return tuple(name for link in self.eni_links for name in (link.name, *link.altnames))

    def is_masked(self, path: str) -> bool:
        """Whether it is a link to /dev/null, by which systemd and udev leave a file out."""
        return self.read_link(path) == "/dev/null"

    def unit_is_active(self, unit: str) -> bool:
        """By the link that systemd keeps for each active unit (unit_export_invocation_id)."""
        return self.read_link(f"/run/systemd/units/invocation:{unit}") is not None
