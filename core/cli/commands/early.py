# SPDX-License-Identifier: Apache-2.0
"""``ec2net early``: before a network manager starts, give it the files for the ENIs of the boot.

No IMDS yet, so roles are a guess: the primary is the ENI that the kernel found first (lowest
index; drivers probe in PCI order, and device 0 comes first). What a wrong guess costs:
docs/networkd.md.
"""

import logging
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace

from ec2net.core.config.files import Source
from ec2net.core.config.settings import ANY_LATER, AUTO_BACKEND, Attached, EniIdentity, EniSettings
from ec2net.core.decide.compute import early_intent, eni_links
from ec2net.core.engine.rivals import concerns
from ec2net.core.engine.setup import Workplace, workplace
from ec2net.core.host import udev
from ec2net.core.host.files import NETWORKMANAGER_UNIT, Environment, elsewhere, is_enabled
from ec2net.core.host.other_tools import rivals
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import DeadlineExceeded, ExitStatus, StateError
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac, OddName
from ec2net.core.model.objects import LinkRef
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state import boot_enis as attachment

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
        return place.status(ExitStatus.DONE)  # the default has to bring up what comes
    if place.loaded.source is Source.BUILT_IN:  # of half a configuration, only the way in
        _log.error("only the first network interface is configured until the files are corrected")
        del links[1:]
    if manager == "networkmanager":
        _write_defaults(links, place)
        return place.status(ExitStatus.DONE)
    provided = {link.index: _provide(link, link is links[0], place) for link in links}
    _withhold(provided, place)
    return place.status(ExitStatus.DONE)


def _begin_record(links: Mapping[Mac, tuple[Link, ...]], place: Workplace) -> None:
    """Of the boot's ENIs. Without it the first pass decides, so a full disk is no failure."""
    try:
        attachment.begin(place.run, links, time.monotonic())
    except StateError as error:
        _log.warning("%s", error)


def _withhold(provided: Mapping[int, bool], place: Workplace) -> None:
    """Mask the defaults that no link depends on, by its index."""
    from ec2net.backends.networkd.defaults import FIRST_INDEX, LATER, withhold

    if all(provided.values()):
        withhold()
    elif place.config.for_eni(ANY_LATER).manage.hands_off and all(
        done for index, done in provided.items() if index != FIRST_INDEX
    ):
        withhold([LATER])


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
        _log.warning("%s is no printable name: nothing is provided for it", f"{link.name}")
    return odd


def _write_defaults(links: list[Link], place: Workplace) -> None:
    """NetworkManager's: one file for all, by which link is taken for the primary."""
    from ec2net.backends.networkmanager import conf, render

    present = conf.in_place()
    if present is not None and present.owner in {link.mac for link in links}:
        return  # not the boot: a pass has written it, knowing more
    numbers = place.config.numbers
    first = links[0]
    hands_off = [link for link in links if _apart(link, _settings(link, link is first, place))]
    only = links if place.config.for_eni(ANY_LATER).manage.hands_off else None
    assert first.mac is not None
    if _doubled(first, _settings(first, True, place)):
        return  # all that NetworkManager has is another tool's, also what comes later
    early = early_intent(
        first.mac,
        LinkRef(first.index, first.name),
        True,
        _settings(first, True, place),
        numbers,
    )
    drivers = {link.driver for link in links}
    conf.write(
        render.conf_file(
            first, early.main_metric, early.parking_table, drivers, hands_off, only=only
        )
    )
    _log.debug("%s: taken for the primary", first.name)


def _settings(link: Link, primary: bool, place: Workplace) -> EniSettings:
    assert link.mac is not None
    when = attachment.when_attached(place.run, {link.mac: (link,)}, time.monotonic())
    attached = Attached.BOOT if primary else when[link.mac]
    known = EniIdentity(link.mac, link_name=link.name, is_primary=primary, attached=attached)
    return place.config.for_eni(known)


def _apart(link: Link, settings: EniSettings) -> bool:
    """Whether it is not ours to touch, by the configuration, by its owner or by another tool."""
    assert link.mac is not None
    owned = bool(elsewhere({link.mac: (link,)}, Environment()))
    return (
        settings.manage.hands_off
        or (owned and settings.backend == AUTO_BACKEND)
        or _doubled(link, settings)
    )


def _doubled(link: Link, settings: EniSettings) -> bool:
    environment = replace(Environment(), eni_links=(link,))
    return any(concerns(tool, link.name, settings.beside) for tool in rivals(environment))


def _provide(link: Link, primary: bool, place: Workplace) -> bool:
    """Give it its file, or a drop-in beside somebody else's. False if it depends on the default."""
    from ec2net.backends.networkd import files, render
    from ec2net.backends.networkd.defaults import has_default
    from ec2net.backends.networkd.match import foreseen

    assert link.mac is not None
    settings = _settings(link, primary, place)
    if _apart(link, settings):
        return not has_default(link)
    present_files = files.in_folder(files.FOLDER)
    early = early_intent(
        link.mac, LinkRef(link.index, link.name), primary, settings, place.config.numbers
    )
    others = foreseen(link)
    path = render.place(link.name, others.file) if others.certain else None
    if path is None:
        _log.info("%s: a file of somebody else comes first", link.name)
        return others.certain
    file = render.network_file(path, early, permanent=link.permanent)
    if any(present.path == file.path and present.owner == link.mac for present in present_files):
        return True  # not the boot: a pass has written it, knowing more; a new time means a reload
    files.write(file)
    _log.debug("%s: prepared as %s", link.name, "primary" if primary else "secondary")
    return True
