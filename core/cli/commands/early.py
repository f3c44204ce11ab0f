# SPDX-License-Identifier: Apache-2.0
"""``ec2net early``: write the files for the ENIs of the boot before a network manager starts.

IMDS is not reachable yet, so the roles are a guess. The ENI that the kernel found first (lowest
index) counts as the primary: drivers probe in PCI order, and device 0 comes first.
docs/networkd.md describes the cost of a wrong guess.
"""

import logging
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace

from ec2net.core.config.files import Source
from ec2net.core.config.settings import ANY_LATER, AUTO_BACKEND, EniIdentity, EniSettings
from ec2net.core.decide.candidate import eni_links
from ec2net.core.decide.eni_intent import early_intent
from ec2net.core.engine.rivals import concerns
from ec2net.core.host import udev
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import NETWORKMANAGER_UNIT, elsewhere, is_enabled
from ec2net.core.host.other_tools import rivals
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import DeadlineExceeded, ExitStatus, StateError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Attached, Mac, OddName
from ec2net.core.model.objects import LinkRef
from ec2net.core.plugins.backend import Boot, BootEni
from ec2net.core.plugins.loaded import built_in
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import boot_enis
from ec2net.core.state.config_in_force import Workplace, workplace

_log = logging.getLogger("ec2net.early")


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True, must_go_on=True)
    manager = "networkmanager" if is_enabled(NETWORKMANAGER_UNIT, Environment()) else "networkd"
    with Kernel(place.config.numbers.protocol) as kernel:
        others = place.config.eni.backend not in (AUTO_BACKEND, manager)
        deadline = Deadline(udev.SECONDS, "waiting for udev")
        links = [] if others else _named_links(kernel, place, deadline)
        _begin_record(eni_links(kernel.links(), place.config.drivers), place)
    if not links:
        return place.status(ExitStatus.DONE)  # the default has to configure later ENIs
    # with half a configuration, only the default that keeps SSH working
    if place.loaded.source is Source.BUILT_IN:
        _log.error(
            "ec2net configures only the first network interface until the files are corrected"
        )
        del links[1:]
    built_in(manager).prepare(boot(links, place))
    return place.status(ExitStatus.DONE)


def _begin_record(links: Mapping[Mac, tuple[Link, ...]], place: Workplace) -> None:
    """Record the ENIs of the boot. Without the record the first pass decides, so a full disk is no
    failure."""
    try:
        boot_enis.record(place.run, links, time.monotonic())
    except StateError as error:
        _log.warning("%s", error)


def _named_links(kernel: Kernel, place: Workplace, deadline: Deadline) -> list[Link]:
    """The ENI links that udev is done with; waits for the first of them."""
    with udev.udev_events() as events:
        while True:  # ends by deadline
            found = eni_links(kernel.links(), place.config.drivers)
            found = {mac: same for mac, same in found.items() if not _is_odd(same[0])}
            links = sorted((same[0] for same in found.values()), key=lambda link: link.index)
            if links and udev.is_done_with(links[0].index):
                return [link for link in links if udev.is_done_with(link.index)]
            try:
                deadline.wait(events.fileno())
            except DeadlineExceeded:
                return []
            events.drain()


def _is_odd(link: Link) -> bool:
    """Whether no file can name it: it costs itself alone, and the first pass refuses it."""
    if odd := isinstance(link.name, OddName):
        _log.warning(
            "%s: this name is not printable; ec2net writes no file for the link", f"{link.name}"
        )
    return odd


def boot(links: list[Link], place: Workplace) -> Boot:
    """The known facts about the boot's ENIs; the first one counts as the primary."""
    enis = []
    for link in links:
        primary = link is links[0]
        settings = _settings(link, primary, place)
        assert link.mac is not None
        ref = LinkRef(link.index, link.name)
        early = early_intent(link.mac, ref, primary, settings, place.config.numbers)
        enis.append(BootEni(link, early, _apart(link, settings), _doubled(link, settings)))
    return Boot(tuple(enis), place.config.for_eni(ANY_LATER).manage.hands_off)


def _settings(link: Link, primary: bool, place: Workplace) -> EniSettings:
    assert link.mac is not None
    boot = boot_enis.read(place.run)
    when = boot_enis.when_attached(boot, {link.mac: (link,)}, time.monotonic())
    attached = Attached.BOOT if primary else when[link.mac]
    known = EniIdentity(link.mac, link_name=link.name, is_primary=primary, attached=attached)
    return place.config.for_eni(known)


def _apart(link: Link, settings: EniSettings) -> bool:
    """Whether the configuration, the link's owner or another tool keeps ec2net from the link."""
    assert link.mac is not None
    owned = bool(elsewhere({link.mac: (link,)}, Environment()))
    return (
        settings.manage.hands_off
        or (owned and settings.backend == AUTO_BACKEND)
        or _doubled(link, settings)
    )


def _doubled(link: Link, settings: EniSettings) -> bool:
    environment = replace(Environment(), eni_links=(link,))
    return any(concerns(tool, link.name, settings.coexist_with) for tool in rivals(environment))
