# SPDX-License-Identifier: Apache-2.0
"""``ec2net start LINK``: wait for the link, then for IMDS to know it, and configure it.

Nothing is held while waiting, and one deadline bounds it all (``timeouts.link``, 30 s by default). The
link's disappearance ends it at once with exit status 3, which units do not restart.
"""

import json
import time
from argparse import Namespace
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ec2net.core.cli.arguments import link_argument
from ec2net.core.daemon.notify import ServiceManager
from ec2net.core.kernel.link_events import LinkEvents, LinkPresence, link_is_there, wait_for_link
from ec2net.core.model.errors import Ec2netError, ExitStatus, ImdsError, KernelError, NotYet
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import Workplace, workplace

if TYPE_CHECKING:
    from ec2net.core.engine.engine import Engine
    from ec2net.core.engine.pass_plan import View
    from ec2net.core.model.identity import Mac
    from ec2net.core.model.plan import Change
    from ec2net.core.plugins.report import PassReport
    from ec2net.core.report.status_file import Outcome

SETTLE_SECONDS = 5.0
"""Time for the network manager: the router's advertisement, with the primary ENI's IPv6 default
route, may arrive seconds after the leases. Errors that remain after this time are real."""

_FIRST_RETRY = 0.1
_LAST_RETRY = 2.0
_RETRY_SHARE = 0.2
"""Pause between two polls while facts are incomplete, as a share of the time so far. A change is
seen at most a fifth later than possible, and a long wait polls seldom."""


def run(options: Namespace) -> ExitStatus:
    if options.primary:
        return _start_primary(options)
    name = link_argument(options.link)
    place = workplace(options, may_fall_back=True)
    seconds = options.timeout or place.config.timeouts.link
    with StopSignals() as signals, LinkEvents() as events:
        deadline = signals.deadline(seconds, f"start {name}")
        index = wait_for_link(name, events, deadline)
        status = _configure(
            name, place, deadline.watching(LinkPresence(events, name, index)), options
        )
    return place.status(status)


def _start_primary(options: Namespace) -> ExitStatus:
    """Configure the primary ENI as soon as IMDS answers, after the network manager's first address.

    READY=1 tells systemd, which delays the boot, that the primary ENI has its addresses, or that IMDS
    does not answer.
    """
    from ec2net.core.engine import first_address
    from ec2net.core.engine.setup import opened

    place = workplace(options, may_fall_back=True)
    seconds = options.timeout or place.config.timeouts.link
    service = ServiceManager()
    with StopSignals() as signals, opened(place) as engine:
        deadline = signals.deadline(seconds, "start --primary")
        first_address.wait(engine, deadline.within(first_address.SECONDS, "the first address"))
        given = time.monotonic()
        engine.after_changes = partial(_ready_if_complete, service)
        mac = _identified(engine, deadline, service, given)
        status = _passes("primary ENI", mac, place, engine, deadline, options)
    service.ready("")
    return place.status(status)


def _ready_if_complete(service: ServiceManager, view: "View", done: tuple["Change", ...]) -> None:
    from ec2net.core.engine.first_address import primary_is_complete

    if primary_is_complete(view, done):
        service.ready("")


def _identified(
    engine: "Engine", deadline: Deadline, service: ServiceManager, given: float
) -> "Mac":
    """The primary ENI's MAC, from IMDS. ``given``: when the host got its first address."""
    from ec2net.core.engine.first_address import IMDS_SECONDS

    pause = _FIRST_RETRY
    while True:  # ends by deadline
        engine.new_pass()
        try:
            mac = engine.primary(deadline.within(IMDS_SECONDS, "waiting for IMDS"))
            problem = "IMDS does not report its MAC"
        except ImdsError as error:
            mac, problem = None, str(error)
        if mac is not None:
            return mac
        if time.monotonic() - given >= IMDS_SECONDS:
            service.ready(problem)
        if pause >= deadline.remaining():
            raise Ec2netError(
                f"not identified within {deadline.seconds:g} s: {problem}", subject="primary ENI"
            )
        deadline.named("waiting for IMDS").sleep(pause)
        pause = _next_pause(deadline)


def _configure(name: str, place: Workplace, deadline: Deadline, options: Namespace) -> ExitStatus:
    from ec2net.core.decide.candidate import eni_links
    from ec2net.core.engine.setup import opened

    with opened(place, link=name) as engine:
        links = eni_links(engine.kernel.links(), engine.config.drivers)
        mac = next(
            (
                mac
                for mac, same in links.items()
                if any(name in (s.name, *s.altnames) for s in same)
            ),
            None,
        )
        if mac is None:
            deadline.check()
            drivers = ", ".join(engine.config.drivers)
            raise Ec2netError(
                f"is not an ENI: its driver is not one of {drivers}",
                subject=name,
                remedy="the setting links.drivers lists the drivers of ENIs",
            )
        return _passes(name, mac, place, engine, deadline, options)


def _passes(
    name: str,
    mac: "Mac",
    place: Workplace,
    engine: "Engine",
    deadline: Deadline,
    options: Namespace,
) -> ExitStatus:
    """Run passes for one ENI until its facts are complete and the kernel confirms the intent."""
    from ec2net.core.engine.one_pass import one_pass
    from ec2net.core.report.publisher import StatusPublisher

    one = partial(
        one_pass, engine, StatusPublisher(place), deadline.within, deadline.what, only={mac}
    )
    pause = _FIRST_RETRY
    settling: Deadline | None = None
    made: tuple[Change, ...] = ()
    while True:  # ends by deadline
        engine.new_pass()
        done = one(check={mac}, lock_seconds=deadline.remaining())
        report = done.report
        made += report.done
        until, awaited = deadline, _awaited(report, mac)
        if report.findings:
            until = settling = settling or _settling(report, mac, deadline)
        elif not (awaited or _not_yet(report, mac)):
            break
        if pause >= until.remaining():
            if awaited and not report.findings:
                raise Ec2netError(
                    f"is still pending after {deadline.seconds:g} s: {awaited}",
                    subject=name,
                    remedy="the next pass continues",
                )
            break
        reason = awaited or "its network manager has not finished"
        until.named(f"waiting for {name}: {reason}").sleep(pause)
        pause = _next_pause(deadline)
    return _reported(replace(done, report=replace(report, done=made)), mac, options)


def _settling(report: "PassReport", mac: "Mac", deadline: Deadline) -> Deadline:
    """Time for the network manager. ec2net asks the primary ENI's router now; the manager asks later."""
    from ec2net.core.kernel.router_solicitation import solicit_router

    intent = next((intent for intent in report.host.ready if intent.mac == mac), None)
    if intent is not None and intent.hears_router:
        with suppress(KernelError):
            solicit_router(intent.link.index)
    return deadline.within(SETTLE_SECONDS, deadline.what)


def _reported(done: "Outcome", mac: "Mac", options: Namespace) -> ExitStatus:
    """Log and print the last pass, with the changes of all passes."""
    from ec2net.core.report import log_lines

    log_lines.report(done)
    report = done.report
    if options.json:
        print(json.dumps(done.to_json(), indent=2))
    eni = report.of(mac)
    gone = any(failure.error.exit_status is ExitStatus.LINK_GONE for failure in report.failed)
    if eni is not None and eni.link is not None and not link_is_there(eni.link.index):
        gone = True
    return ExitStatus.LINK_GONE if gone else report.exit_status


def _awaited(report: "PassReport", mac: "Mac") -> str:
    """The facts that IMDS or the kernel does not report yet; empty if nothing is missing."""
    from ec2net.core.decide.intent import Standing

    eni = report.of(mac)
    pending = eni is not None and eni.standing in (Standing.PENDING, Standing.ABSENT)
    return (eni.reason or eni.standing.value) if eni is not None and pending else ""


def _not_yet(report: "PassReport", mac: "Mac") -> bool:
    """Whether a part of the ENI waits for its network manager."""
    return any(f.change.mac == mac and isinstance(f.error, NotYet) for f in report.failed)


def _next_pause(deadline: Deadline) -> float:
    waited = deadline.seconds - deadline.remaining()
    return min(_LAST_RETRY, max(_FIRST_RETRY, _RETRY_SHARE * waited))
