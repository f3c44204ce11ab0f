# SPDX-License-Identifier: Apache-2.0
"""``ec2net early``: before a network manager starts, give it the files for the ENIs of the boot.

No IMDS yet, so roles are a guess: the primary is the ENI that the kernel found first (lowest
index; drivers probe in PCI order, and device 0 comes first). What a wrong guess costs:
docs/networkd.md.
"""

import logging
from argparse import Namespace

from ec2net.core.compute import early_intent, eni_links
from ec2net.core.config import AUTO_BACKEND, EniIdentity, EniSettings, Manage
from ec2net.core.config_files import Source
from ec2net.core.deadline import Deadline
from ec2net.core.environment import NETWORKMANAGER_UNIT, Environment, is_enabled
from ec2net.core.errors import DeadlineExceeded, ExitStatus
from ec2net.core.facts import Link
from ec2net.core.kernel import udev
from ec2net.core.kernel.objects import LinkRef
from ec2net.core.kernel.session import Kernel
from ec2net.core.workplace import Workplace, workplace

_log = logging.getLogger("ec2net.early")


def run(options: Namespace) -> ExitStatus:
    place = workplace(options, may_fall_back=True, must_go_on=True)
    manager = "networkmanager" if is_enabled(NETWORKMANAGER_UNIT, Environment()) else "networkd"
    if place.config.eni.backend not in (AUTO_BACKEND, manager):
        return place.status(ExitStatus.DONE)
    with Kernel(place.config.numbers.protocol) as kernel:
        links = _named_links(kernel, place, Deadline(udev.SECONDS, "waiting for udev"))
    if not links:
        return place.status(ExitStatus.DONE)  # the default has to bring up what comes
    if place.loaded.source is Source.BUILT_IN:  # of half a configuration, only the way in
        _log.error("only the first network interface is configured until the files are corrected")
        del links[1:]
    if manager == "networkmanager":
        _write_defaults(links, place)
        return place.status(ExitStatus.DONE)
    provided = [_provide(link, index == 0, place) for index, link in enumerate(links)]
    if all(provided):
        from ec2net.backends.networkd.defaults import withhold

        withhold()
    return place.status(ExitStatus.DONE)


def _named_links(kernel: Kernel, place: Workplace, deadline: Deadline) -> list[Link]:
    """The ENI links that udev is done with; waits for the first of them."""
    with udev.udev_events() as events:
        while True:  # ends by deadline
            found = eni_links(kernel.links(), place.config.drivers)
            links = sorted((same[0] for same in found.values()), key=lambda link: link.index)
            if links and udev.is_done_with(links[0].index):
                return [link for link in links if udev.is_done_with(link.index)]
            try:
                deadline.wait(events.fileno())
            except DeadlineExceeded:
                return []
            events.drain()


def _write_defaults(links: list[Link], place: Workplace) -> None:
    """NetworkManager's: one file for all, by which link is taken for the primary."""
    from ec2net.backends.networkmanager import conf, render

    present = conf.in_place()
    if present is not None and present.owner in {link.mac for link in links}:
        return  # not the boot: a pass has written it, knowing more
    numbers = place.config.numbers
    hands_off = [
        link
        for index, link in enumerate(links)
        if _settings(link, index == 0, place).manage in _HANDS_OFF
    ]
    first = links[0]
    assert first.mac is not None
    early = early_intent(
        first.mac,
        LinkRef(first.index, first.name),
        True,
        _settings(first, True, place),
        numbers,
    )
    drivers = {link.driver for link in links}
    conf.write(render.conf_file(first, early.main_metric, early.parking_table, drivers, hands_off))
    _log.debug("%s: taken for the primary", first.name)


_HANDS_OFF = (Manage.IGNORE, Manage.OBSERVE)


def _settings(link: Link, primary: bool, place: Workplace) -> EniSettings:
    assert link.mac is not None
    known = EniIdentity(link.mac, link_name=link.name, is_primary=primary)
    return place.config.for_eni(known)


def _provide(link: Link, primary: bool, place: Workplace) -> bool:
    """Give it its file, or a drop-in beside somebody else's. False if it depends on the default."""
    from ec2net.backends.networkd import files, render
    from ec2net.backends.networkd.defaults import has_default
    from ec2net.backends.networkd.match import foreseen

    assert link.mac is not None
    settings = _settings(link, primary, place)
    if settings.manage in _HANDS_OFF:
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
