# SPDX-License-Identifier: Apache-2.0
"""``ec2net adopt networkd``: hand the host to systemd-networkd and systemd-resolved; shows the plan
first.

The user often is logged in through this network. From the first change on, neither a signal nor a
closed terminal ends the command. ec2net rolls back a change that cuts the host off.
"""

import json
import logging
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress

from ec2net.core.cli.commands import early, refresh
from ec2net.core.config.settings import AUTO_BACKEND
from ec2net.core.engine.engine import Engine
from ec2net.core.engine.reachability import Reachability
from ec2net.core.engine.setup import opened
from ec2net.core.engine.verify import ABROAD
from ec2net.core.migration import plan, record, remarks
from ec2net.core.migration.check import Trial, primary_of
from ec2net.core.migration.host import Host, by_index, look
from ec2net.core.migration.leftovers import clear_link_locals, clear_routes
from ec2net.core.migration.record import Before
from ec2net.core.migration.steps import Step, StepFailed, as_plan, perform
from ec2net.core.model.errors import Ec2netError, ExitStatus, KernelError
from ec2net.core.report import as_json
from ec2net.core.runtime.clock import now
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state.config_in_force import Workplace, workplace
from ec2net.core.state.lock import HostLock, check_lock

SECONDS = 90.0
"""For all steps together, and the same again to undo them: systemctl waits for units to stop."""

_NMCLI_SECONDS = 20.0
_SYSTEMCTL_SECONDS = 5.0

_DISCONNECTED = "30 "
"""NM_DEVICE_STATE_DISCONNECTED, as nmcli shows it."""

_UNDO = "ec2net adopt networkd --undo --apply"
_GOES_ON = "run the same command again to continue"

_log = logging.getLogger("ec2net.adopt")


def run(options: Namespace) -> ExitStatus:
    # No error of the configuration may prevent that the host's former state is restored.
    place = workplace(options, may_fall_back=options.undo, must_go_on=options.undo)
    if options.apply:
        check_lock(place.run)
    with StopSignals(reload=True) as signals:
        asked = signals.deadline(place.config.timeouts.pass_, "adopt")
        with opened(place) as engine:
            adoption = _Adoption(place, engine, options)
            if not options.apply:
                _tell(options, *adoption.planned())
                return ExitStatus.DONE
            engine.read_imds(asked)
            lock = signals.deadline(place.config.timeouts.lock, "host lock")
            with HostLock(place.run, lock):
                looking = signals.deadline(place.config.timeouts.pass_, "adopt")
                changed = adoption.apply(looking)
        stopped = signals.received is not None
    if not changed or stopped:
        return ExitStatus.DONE
    return refresh.again(options)


class _Adoption:
    """One command's work, under the host lock where it changes something."""

    def __init__(self, place: Workplace, engine: Engine, options: Namespace) -> None:
        self._place = place
        self._engine = engine
        self._options = options
        self._trial: Trial | None = None

    def planned(self) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        """The steps, and the remarks to print with them. Raises ``Ec2netError`` if the host does
        not allow it."""
        before, host = record.read(), self._look()
        if self._options.undo:
            if before is None:
                return (), remarks.of_undoing(host)
            plan.refuse_back(before, host)
            return plan.back(before, host, self._works()), remarks.of_undoing(host)
        if self._place.config.eni.backend not in (AUTO_BACKEND, "networkd"):
            raise Ec2netError(
                f'the configuration sets backend = "{self._place.config.eni.backend}", but this '
                'command needs "auto" or "networkd"; nothing was changed',
                subject="adopt",
                remedy='remove that setting, or set backend = "networkd"',
            )
        steps = plan.forward(host, self._works())
        if steps:
            plan.refuse(host)
        return steps, remarks.remarks(host.environment)

    def apply(self, deadline: Deadline) -> bool:
        """Do it; whether anything was done. Raises ``Ec2netError``, with all undone or not."""
        steps, told = self.planned()
        _tell(self._options, steps, told, apply=True)
        if not steps:
            return False
        self._trial = self._before(deadline)
        deadline.check()  # the last moment for a signal
        limit = Deadline(SECONDS, "adopt")
        if self._options.undo:
            perform(steps, limit, subject="adopt", remedy=_GOES_ON)
            return True
        try:
            perform(steps, limit, subject="adopt", remedy="")
        except StepFailed as error:
            raise self._undo(error) from error
        except Exception as bug:  # after any failure the host is half handed over
            self._undo(StepFailed(f"{type(bug).__name__}: {bug}", subject="adopt"))
            raise
        return True

    def _undo(self, cause: StepFailed) -> Ec2netError:
        """Roll everything back. Returns the error that reports the cause and the result."""
        _log.warning("%s; ec2net restores the former state", cause)
        before = record.read()
        if before is None:
            return Ec2netError(f"{cause.problem}; nothing was changed", subject="adopt")
        try:
            steps = plan.back(before, self._look(), self._works())
            perform(steps, Deadline(SECONDS, "undo"), subject="adopt", remedy=_GOES_ON)
        except Ec2netError as error:
            return Ec2netError(
                f"{cause.problem}; ec2net could not restore the former state: {error.problem}",
                subject="adopt",
                remedy=f"run '{_UNDO}' to try again",
            )
        return Ec2netError(
            f"{cause.problem}; the former state was restored",
            subject="adopt",
            remedy="see 'journalctl -u systemd-networkd' for its messages",
        )

    def _look(self) -> Host:
        config = self._place.config
        primary, environment = primary_of(self._engine.kernel, config)
        limit = Deadline(_SYSTEMCTL_SECONDS, "systemctl")
        return look(primary, environment, self._engine.kernel, config.drivers, limit)

    def _before(self, deadline: Deadline) -> Trial:
        host, kernel = self._look(), self._engine.kernel
        ways = Reachability(kernel, self._engine.imds)
        try:
            answer = kernel.lookup(ABROAD[4])
            leased = answer.link == host.primary.index
        except KernelError:
            leased = False
        after = self._place.config.rollback_after
        reached, servers = ways.now(deadline), host.resolv_conf.has_servers
        return Trial(ways, reached, host.primary, leased, servers, after)

    # Steps that ec2net runs in its own process

    def _works(self) -> plan.Works:
        return plan.Works(
            record=self._record,
            prepare=self._prepare,
            adopted=self._adopted,
            reachable=self._reachable,
            clear=self._clear,
            reconnect=self._reconnect,
            forget=lambda _: record.forget(),
        )

    def _record(self, deadline: Deadline) -> None:
        if record.read() is None:  # from the first run, where this one continues
            record.write(plan.before(self._look(), now()))

    def _prepare(self, deadline: Deadline) -> None:
        environment = self._look().environment
        if not self._options.undo:
            clear_routes(by_index(environment), self._place.config.drivers, None)
        early.run(self._options)

    def _clear(self, deadline: Deadline) -> None:
        names, drivers = by_index(self._look().environment), self._place.config.drivers
        clear_routes(names, drivers, self._place.config.numbers.parking_table)
        before = record.read()
        if before is not None:
            clear_link_locals(self._engine.kernel, before.link_locals, names, drivers)

    def _adopted(self, deadline: Deadline) -> None:
        assert self._trial is not None
        self._trial.adopted(deadline)

    def _reachable(self, deadline: Deadline) -> None:
        assert self._trial is not None
        self._trial.reachable(deadline)

    def _reconnect(self, deadline: Deadline) -> None:
        before = record.read()
        if before is not None:
            _reconnect(before, self._look(), deadline)


def _reconnect(before: Before, host: Host, deadline: Deadline) -> None:
    """NetworkManager considers a link with addresses externally managed, unless its state files of
    this boot show otherwise. The steps that follow check the result: which addresses are
    reachable."""
    _said(("nm-online", "--wait-for-startup", "--quiet", "--timeout=10"), deadline)
    for link in (eni.name for eni in host.environment.eni_links if eni.name in before.profiles):
        state = _said(("nmcli", "-g", "GENERAL.STATE", "device", "show", link), deadline) or ""
        if "externally" in state or state.startswith(_DISCONNECTED):
            up = ("connection", "up", before.profiles[link], "ifname", link)
            if _said(("nmcli", "--wait", "10", *up), deadline) is None:
                _said(("nmcli", "--wait", "10", "device", "connect", link), deadline)


def _said(words: Sequence[str], deadline: Deadline) -> str | None:
    """The output of a command; None if it failed."""
    try:
        return output(words, deadline.within(_NMCLI_SECONDS, words[0]))
    except CommandFailed:
        return None


def _tell(
    options: Namespace, steps: Sequence[Step], told: Sequence[str], *, apply: bool = False
) -> None:
    """Before anything is done: afterwards there may be no terminal."""
    if options.json:
        described = [step.describe() for step in steps]
        document = {"version": as_json.VERSION, "steps": described, "remarks": list(told)}
        print(json.dumps(document, indent=2))
    elif not steps:
        nothing = "Nothing to undo." if options.undo else "Nothing to do."
        print(nothing)
    else:
        print(as_plan(steps, told, apply=apply))
        if apply and not options.undo:
            print(f"To undo this, run: {_UNDO}")
    if apply:
        import sys

        with suppress(OSError):
            sys.stdout.flush()
