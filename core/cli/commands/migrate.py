# SPDX-License-Identifier: Apache-2.0
"""``ec2net migrate``: hand over from a tool that did this work before, plan first; or give it back."""

import json
import logging
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ec2net.core.cli.commands import early, refresh
from ec2net.core.config.settings import Rival
from ec2net.core.daemon.control import poke
from ec2net.core.daemon.published import published
from ec2net.core.decide.candidate import eni_links
from ec2net.core.engine.one_pass import one_pass
from ec2net.core.engine.setup import opened
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import CLOUD_NETCONFIG_SETTINGS
from ec2net.core.kernel.session import Kernel
from ec2net.core.migration import (
    cloud_setup,
    handover_kernel,
    kept,
    networkd_restart,
    predecessor,
    successor,
)
from ec2net.core.migration.kept import Migrated
from ec2net.core.migration.net_utils import wrote
from ec2net.core.migration.predecessor import PERIODS, Found, state_of
from ec2net.core.migration.steps import Step, as_plan, perform
from ec2net.core.model.errors import Ec2netError, ExitStatus, StateError, UsageError
from ec2net.core.model.facts import Link
from ec2net.core.report import as_json
from ec2net.core.report.eni_state import State
from ec2net.core.report.publisher import StatusPublisher
from ec2net.core.runtime.clock import now
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import write_whole
from ec2net.core.runtime.signals import StopSignals
from ec2net.core.state import pause
from ec2net.core.state.config_in_force import Workplace, workplace
from ec2net.core.state.journal import Journals
from ec2net.core.state.lock import HostLock, check_lock

SECONDS = 90.0
"""For all steps together; systemctl waits until the units have stopped."""

_STOPPED_SECONDS = 10.0
_PAUSE = 0.1

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger("ec2net.migrate")


def run(options: Namespace) -> ExitStatus:
    if options.tool is None:
        if options.apply and not options.undo:
            raise UsageError(
                "--apply needs the name of a tool", remedy="run: ec2net migrate --from TOOL"
            )
        if not options.undo:
            return _tell_all(options)
    if options.apply:
        pause.refuse(options.config_root)
    place = workplace(options, may_fall_back=True)
    migration = _Migration(place, Rival(options.tool) if options.tool else _recorded(), options)
    return migration.undo() if options.undo else migration.forward()


def _recorded() -> Rival:
    """The tool of the only record. Raises ``Ec2netError``."""
    found = [rival for rival in Rival if kept.path_of(rival).exists()]
    if len(found) != 1:
        names = ", ".join(found)
        problem = (
            f"this host was migrated from several tools: {names}"
            if found
            else "no migration is recorded on this host"
        )
        raise Ec2netError(problem, subject="migrate", remedy="name the tool with --from")
    return found[0]


def _tell_all(options: Namespace) -> ExitStatus:
    """Report the state of each tool, and the steps that would end it."""
    place = workplace(options, may_fall_back=True)
    tools = []
    for rival in Rival:
        migration = _Migration(place, rival, options)
        found = migration.look()
        tools.append((found, migration.steps(found), tuple(predecessor.remarks(found))))
    if options.json:
        _print_json([(f.rival, state_of(f), steps, remarks) for f, steps, remarks in tools])
        return ExitStatus.DONE
    for found, steps, remarks in tools:
        print(state_of(found))
        for line in as_plan(steps, remarks, apply=True).splitlines():
            print(f"  {line}")
        if steps:
            print(f"  To do this, run: ec2net migrate --from {found.rival} --apply")
    return ExitStatus.DONE


class _Migration:
    """One tool's hand-over."""

    def __init__(self, place: Workplace, rival: Rival, options: Namespace) -> None:
        self._place = place
        self._rival = rival
        self._options = options

    # Forward

    def forward(self) -> ExitStatus:
        found = self.look()
        steps = self.steps(found)
        lost = self._lost() if steps else ()
        self._tell(steps, (*predecessor.remarks(found), *lost), state_of(found))
        if not self._options.apply or (not steps and kept.read(self._rival) is None):
            return ExitStatus.DONE
        if lost:
            raise Ec2netError(
                f"the ENIs need {self._rival}, so nothing was changed: {'; '.join(lost)}",
                subject="migrate",
                remedy="correct the cause, run 'systemctl reload ec2net.service' if you changed "
                "the configuration, then run the same command again",
            )
        check_lock(self._place.run)
        with StopSignals(reload=True) as signals:
            lock = signals.deadline(self._place.config.timeouts.lock, "host lock")
            with HostLock(self._place.run, lock):
                steps = self.steps(self.look())
                perform(steps, Deadline(SECONDS, "migrate"), subject="migrate")
        status = refresh.again(self._options, self._between())
        self._clear()
        self._confirm()
        if not self._options.json:
            print(self._ended())
        return status

    def look(self) -> Found:
        """The present state of the tool."""
        links = tuple(same[0] for same in self._enis())
        environment = replace(Environment(), eni_links=links).once()
        return predecessor.look(self._rival, environment, self._made())

    def _made(self) -> tuple[str, ...]:
        """Rules and routes that NetworkManager creates for nm-cloud-setup."""
        if self._rival is not Rival.NM_CLOUD_SETUP:
            return ()
        return cloud_setup.left(self._every(), self._place.config.drivers)

    def steps(self, found: Found) -> tuple[Step, ...]:
        """The plan that ends it."""
        return predecessor.forward(found, self._works())

    def _lost(self) -> tuple[str, ...]:
        """ENIs that nothing would configure after the end of the tool, one sentence each.

        The daemon may still have an earlier configuration than the one in the files."""
        if not self._enis():
            return ()
        observed = self._observed_by_daemon()
        if observed:  # it may be in the middle of a reload
            poke(self._place.run, Deadline(2 * self._place.config.pass_seconds, "the daemon"))
            observed = self._observed_by_daemon()
        try:
            lost = observed | successor.unconfigured(self._place)
        except Ec2netError as error:
            lost = {"some ENIs": str(error)}
        return tuple(
            f"{name} would stay without configuration ({why})" for name, why in sorted(lost.items())
        )

    def _observed_by_daemon(self) -> dict[str, str]:
        names = {str(same[0].mac): str(same[0].name) for same in self._enis()}
        return {
            names[row["mac"]]: f"{successor.OBSERVED} in the daemon's configuration"
            for row in (published(self._place.run) or {}).get("enis", ())
            if row["state"] == State.OBSERVED and row["mac"] in names
        }

    def _between(self) -> Callable[[], None] | None:
        """Its main-first rule stands before ec2net's for the primary ENI, so it goes at once."""
        return self._clear if self._rival is Rival.NM_CLOUD_SETUP else None

    def _clear(self) -> None:
        """Remove what a network manager made for it, now that ec2net's rules are there."""
        if self._rival is Rival.NM_CLOUD_SETUP:
            config = self._place.config
            cloud_setup.clear(self._every(), config.drivers, config.numbers.protocol)
            return
        before = kept.read(self._rival)
        if before is not None and self._rival is Rival.NET_UTILS:
            indices, main = self._indices()
            handover_kernel.clear(wrote(before.texts), indices, main, self._place.config.drivers)

    def _confirm(self) -> None:
        """Raises ``Ec2netError`` if parts of the tool remain."""
        found, left = self.look(), []
        if not found.is_off:
            left.append(state_of(found))
        before = kept.read(self._rival)
        if before is not None and self._rival is Rival.NET_UTILS:
            indices, main = self._indices()
            drivers = self._place.config.drivers
            left += handover_kernel.left(wrote(before.texts), indices, main, drivers)
        if left:
            raise Ec2netError(
                f"parts of {self._rival} remain on this host: {'; '.join(left)}",
                subject="migrate",
                remedy="run the same command again to continue",
            )

    def _ended(self) -> str:
        return (
            f"{self._rival} has been off since {now()}. Checked: systemd runs none of its units "
            "and has no job for one. All of its unit files are masked. None of its files, "
            f"rules or routes remain.\nIts timers had a period of up to {PERIODS[self._rival]} "
            f"s. To check again after that time, run: ec2net migrate --from {self._rival}\nTo "
            f"undo the migration, run: ec2net migrate --from {self._rival} --undo --apply"
        )

    # Back

    def undo(self) -> ExitStatus:
        before = kept.read(self._rival)
        if before is None:
            self._tell((), (), f"No migration from {self._rival} is recorded: nothing to undo.")
            return ExitStatus.DONE
        if not self.look().installed:
            raise Ec2netError(
                f"the package of {self._rival} is not installed, so ec2net cannot restore the tool",
                subject="migrate",
                remedy="install the package, then run the same command again",
            )
        names = ", ".join(same[0].name for same in self._enis())
        steps = predecessor.back(before, _boot(), self._works(), names or "every ENI")
        self._tell(steps, (), f"{self._rival} was ended by ec2net at {before.when}.")
        if not self._options.apply:
            return ExitStatus.DONE
        check_lock(self._place.run)
        with StopSignals(reload=True):
            perform(steps, Deadline(SECONDS, "undo"), subject="migrate")
        if not self._options.json:
            print(f"{self._rival} manages the ENIs again, as before {before.when}.")
        return ExitStatus.DONE

    # Steps that ec2net runs in its own process

    def _works(self) -> predecessor.Works:
        return predecessor.Works(
            record=self._record,
            stopped=self._stopped,
            prepare=lambda _: self._prepare(),
            restart=self._restart,
            claim=lambda _: self._claim(),
            settings=lambda _: self._settings(),
            give_back=self._give_back,
            forget=lambda _: kept.forget(self._rival),
        )

    def _record(self, deadline: Deadline) -> None:
        if kept.read(self._rival) is not None:
            return  # of the first run, which ended in the middle
        found = self.look()
        active = tuple(Environment().working_units(found.wiring.patterns))
        units = tuple(unit for unit in found.units if unit in active)
        paths = kept.all_kept(found.touched)
        kept.write(Migrated(self._rival, now(), _boot(), units, paths))

    def _stopped(self, deadline: Deadline) -> None:
        limit = deadline.within(_STOPPED_SECONDS, "waiting for systemd to stop its units")
        patterns = self.look().wiring.patterns
        while units := Environment().working_units(patterns):  # ends by deadline
            if limit.expired():
                raise Ec2netError(f"systemd still runs {', '.join(units)}")
            limit.wait(seconds=_PAUSE)
        with suppress(CommandFailed):  # a unit that failed while it was stopped is not worth a line
            output(("systemctl", "reset-failed", *patterns), deadline)

    def _prepare(self) -> None:
        early.run(self._options)

    def _restart(self, deadline: Deadline) -> None:
        if self._rival is Rival.NM_CLOUD_SETUP:
            cloud_setup.restart(deadline)
        else:
            networkd_restart.restart(deadline)

    def _claim(self) -> None:
        if self._rival is Rival.NM_CLOUD_SETUP:
            config = self._place.config
            mark, journals = config.numbers.protocol, Journals(self._place.run)
            cloud_setup.claim(self._every(), config.drivers, mark, journals)
            return
        before, (indices, main) = kept.read(self._rival), self._indices()
        if before is None:
            raise StateError("the record of the host's former state is missing")
        mark, drivers = self._place.config.numbers.protocol, self._place.config.drivers
        handover_kernel.claim(wrote(before.texts), indices, main, drivers, mark)

    def _settings(self) -> None:
        path = Path(CLOUD_NETCONFIG_SETTINGS)
        text, mode = path.read_text(), path.stat().st_mode & 0o7777
        write_whole(path, predecessor.with_manage_off(text).encode(), mode=mode, prefix=".tmp-")

    def _give_back(self, deadline: Deadline) -> None:
        """Remove ec2net's configuration from every ENI, as ``ec2net remove`` does for one."""
        with StopSignals() as signals, opened(self._place, imds=False) as engine:
            macs = frozenset(eni_links(engine.kernel.links(), engine.config.drivers))
            publisher = StatusPublisher(self._place)
            one_pass(engine, publisher, signals.deadline, "undo", only=macs, without=macs)

    # Asking

    def _enis(self) -> list[tuple[Link, ...]]:
        numbers = self._place.config.numbers
        with Kernel(numbers.protocol) as kernel:
            found = eni_links(kernel.links(), self._place.config.drivers)
        return sorted(found.values(), key=lambda same: same[0].index)

    def _every(self) -> frozenset[int]:
        """The links of all ENIs."""
        return frozenset(link.index for same in self._enis() for link in same)

    def _indices(self) -> tuple[frozenset[int], frozenset[int]]:
        """The links of all ENIs; and those of secondary ENIs, whose leased routes leave main."""
        enis, every = self._enis(), self._every()
        if not every:
            return frozenset(), frozenset()
        with opened(self._place) as engine:
            primary = engine.primary(Deadline(self._place.config.timeouts.pass_, "primary"))
        secondary = [link.index for same in enis for link in same if link.mac != primary]
        return every, frozenset(secondary if primary else [])

    def _tell(self, steps: Sequence[Step], remarks: Sequence[str], state: str) -> None:
        if self._options.json:
            _print_json([(self._rival, state, steps, remarks)])
            return
        print(state)
        if steps:
            print(as_plan(steps, remarks, apply=self._options.apply), flush=True)


def _print_json(tools: Sequence[tuple[Rival, str, Sequence[Step], Sequence[str]]]) -> None:
    described = [
        {
            "tool": rival.value,
            "state": state,
            "steps": [step.describe() for step in steps],
            "remarks": list(remarks),
        }
        for rival, state, steps, remarks in tools
    ]
    every = [step.describe() for _, _, steps, _ in tools for step in steps]
    document = {"version": as_json.VERSION, "steps": every, "tools": described}
    print(json.dumps(document, indent=2))


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
