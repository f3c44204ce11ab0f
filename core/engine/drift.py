# SPDX-License-Identifier: Apache-2.0
"""What somebody else took away or changed: noticed by a pass, told once, kept for ``explain``.

An item has drifted if it was in place, is wanted just as it was, and is not so any more: what is
only now wanted, or not wanted any more, has not. So /run/ec2net/drift/MAC.json has what was in place
after the last pass, by fingerprint, and the story of what was noticed. It holds for one attachment.
"""

import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from ec2net.core.decide.intent import EniIntent
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.suspects import suspects
from ec2net.core.engine.verify import differences
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import Ec2netError, StateError
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import Address, KernelObject, LaterAddress
from ec2net.core.model.plan import Action, Change, Item, Plan
from ec2net.core.runtime.clock import now
from ec2net.core.state.holds import fingerprint
from ec2net.core.state.run_dir import RunDir

_FOLDER = "drift"

STORY = 8
"""Drifts of one ENI that are remembered: the last ones."""
SHOWN = 6
"""Items of one drift that are named."""
REMINDER = 600.0
"""Seconds after which one that comes again is told again."""
GIVEN = 90.0
"""Seconds after a network manager was given another file or setting in which nothing is told: what
it does to the link then, as systemd-networkd 252 takes its leases anew, is by our wish."""
_MARK = 16
"""Characters of a fingerprint that are kept."""

REPAIRED = "made again"
OBSERVED = 'only reported, since manage = "observe"'
_NOT_MADE = "not made, see 'ec2net status'"
_BY_OTHERS = "as intended again without us"


@dataclass(frozen=True, slots=True)
class Drift:
    """What was noticed at a time, or again and again. Times are ISO 8601, UTC."""

    what: tuple[str, ...]
    """As ``verify`` says it."""
    items: tuple[str, ...]
    """Fingerprints."""
    noticed: str
    last: str
    times: int
    known: tuple[str, ...]
    """Of who it was."""
    repair: str
    open: bool
    """Whether it is still so."""

    @property
    def summary(self) -> str:
        """What it was, in one line."""
        more = len(self.items) - len(self.what)
        return "; ".join((*self.what, *([f"and {more} more"] if more > 0 else [])))

    def describe(self) -> str:
        """With what became of it and what is known of who it was."""
        who = "; ".join(("who it was the kernel does not tell", *self.known))
        return f"{self.summary}: {self.repair} ({who})"

    def told(self) -> str:
        """For the log, when it begins or ends."""
        if not self.open and self.repair == _BY_OTHERS:
            return f"no longer: {self.summary}"
        return f"somebody else's change: {self.describe()}"


@dataclass(frozen=True, slots=True)
class Drifts:
    """What a pass has to say of it."""

    latest: Mapping[Mac, Drift] = field(default_factory=dict)
    """Of each ENI that was planned for and has any."""
    news: tuple[tuple[Mac, Drift], ...] = ()
    """What began or ended in this pass."""
    problems: tuple[Ec2netError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Record:
    """What is remembered of one attachment."""

    ifindex: int
    in_place: frozenset[str] = frozenset()
    intended: int = 0
    """Of what was wanted then. It may be in place without a change: a pass before was killed."""
    given: str = ""
    """When a network manager was given something else for it; empty: never."""
    story: tuple[Drift, ...] = ()


def follow(
    run: RunDir,
    view: View,
    done: Collection[Change],
    back: Collection[Mac | None],
    environment: Environment,
) -> Drifts:
    """Compare with what was in place before, and remember what is now.

    ``done``: what this pass made; ``back``: ENIs that are as they were, since their changes were
    rolled back. Writes nothing if nothing differs.
    """
    made: defaultdict[Mac | None, set[str]] = defaultdict(set)
    removed: defaultdict[Mac | None, set[str]] = defaultdict(set)
    for change in done:
        (removed if change.action is Action.REMOVE else made)[change.mac].add(_mark(change.item))
    given = {change.mac for change in done if not isinstance(change.item, KernelObject)}
    latest: dict[Mac, Drift] = {}
    news: list[tuple[Mac, Drift]] = []
    problems: tuple[Ec2netError, ...] = ()
    plans = view.plan.by_eni()
    for intent in view.host.ready:
        mac = intent.mac
        before = _read(run, mac, intent.link.index)
        if mac in view.wanted:
            own = plans.get(mac, Plan())
            after = _next(before, intent, own, made[mac], view, environment)
            if mac in back:
                after = replace(after, in_place=before.in_place, intended=before.intended)
            if mac in given:
                after = replace(after, given=now())
        elif mac in view.without:
            after = replace(before, in_place=frozenset(), intended=0)
        elif (gone := removed[mac]) and mac not in back:
            after = replace(before, in_place=before.in_place - gone)  # for another ENI's sake
        else:
            continue
        if after.story:
            latest[mac] = after.story[-1]
            if _is_news(before.story, latest[mac]):
                news.append((mac, latest[mac]))
        try:
            if after != before:
                _write(run, mac, after)
        except StateError as error:
            problems = (error,)  # of the directory: the same for all
    return Drifts(latest, tuple(news), problems)


def story(run: RunDir, mac: Mac, ifindex: int) -> tuple[Drift, ...]:
    """What is remembered of an ENI while it has this link, the oldest first."""
    return _read(run, mac, ifindex).story


def keep_only(run: RunDir, attached: Collection[Mac]) -> None:
    """Forget ENIs that are gone. Raises ``StateError``."""
    kept = {_file(mac) for mac in attached}
    for name in run.names(_FOLDER):
        if name not in kept:
            run.remove(name)


def _next(
    before: _Record,
    intent: EniIntent,
    own: Plan,
    made: set[str],
    view: View,
    environment: Environment,
) -> _Record:
    if intent.mac in view.observed_only:  # whatever is not so, whether it ever was or not
        return replace(before, story=_told(before.story, own, set(), intent, view, environment))
    told_of = before.in_place
    if before.given and 0 <= _seconds(before.given, now()) < GIVEN:
        told_of = frozenset()
    drifted = Plan(
        tuple(
            change
            for change in own.changes
            if told_of and change.action is not Action.REMOVE and _mark(change.item) in told_of
        ),
        tuple(found for found in own.conflicts if _mark(found.item) in told_of),
    )
    in_place, intended = before.in_place, _intended(view.wanted[intent.mac])
    changing = bool(own.changes or own.conflicts)
    if changing or intended != before.intended:
        missing = set(_marks(own)) - made
        wanted = frozenset(_mark(_as_it_stays(item)) for item in view.wanted[intent.mac])
        if changing or not wanted <= in_place:
            in_place = (wanted - missing) | (in_place & missing & wanted)
        else:  # less of it can be told, as while a driver is in a reset: that is no news
            intended = before.intended
    told = _told(before.story, drifted, made, intent, view, environment)
    return replace(before, in_place=in_place, intended=intended, story=told)


def _told(
    story: tuple[Drift, ...],
    drifted: Plan,
    made: Collection[str],
    intent: EniIntent,
    view: View,
    environment: Environment,
) -> tuple[Drift, ...]:
    """The story with what this pass noticed, which is at its end."""
    items = _marks(drifted)
    last = story[-1] if story else None
    lasts = bool(drifted.conflicts) or not all(item in made for item in items)
    if last is not None and last.open:
        if last.items == items and lasts:
            return story
        if not items or last.items == items:
            repair = REPAIRED if items else _BY_OTHERS
            return (*story[:-1], replace(last, last=now(), repair=repair, open=False))
        story = (*story[:-1], replace(last, open=False))  # goes on as another one
    if not items:
        return story
    link = view.snapshot.link(intent.link.index)
    observed = intent.mac in view.observed_only
    again = next((drift for drift in story if drift.items == items), None)
    drift = Drift(
        what=_words(drifted)[:SHOWN],
        items=items,
        noticed=again.noticed if again else now(),
        last=now(),
        times=again.times + 1 if again else 1,
        known=suspects(drifted, link, view.snapshot, environment) if link is not None else (),
        repair=OBSERVED if observed else _NOT_MADE if lasts else REPAIRED,
        open=lasts,
    )
    return (*(old for old in story if old is not again), drift)[-STORY:]


def _words(drifted: Plan) -> tuple[str, ...]:
    """As ``verify`` has them; of what is different also what was found."""
    found = [
        f"{finding.describe()} ({change.before.describe()})"
        if change.before is not None
        else finding.describe()
        for finding, change in zip(differences(drifted), drifted.changes, strict=True)
    ]
    return (*found, *(conflict.describe() for conflict in drifted.conflicts))


def _is_news(before: tuple[Drift, ...], drift: Drift) -> bool:
    """Whether it began or ended, or comes again after a while."""
    old = next((old for old in before if old.items == drift.items), None)
    return old is None or (old.open and not drift.open) or _seconds(old.last, drift.last) > REMINDER


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _mark(item: Item) -> str:
    return fingerprint(None, (item,))[:_MARK]


def _intended(wanted: Iterable[Item]) -> int:
    """Quicker than all fingerprints, which are for passes that find it changed."""
    return zlib.crc32("\n".join(sorted(item.describe() for item in wanted)).encode())


def _as_it_stays(item: Item) -> Item:
    """An address that is moved behind the first one is an address like others afterwards."""
    return Address(item.link, item.interface) if isinstance(item, LaterAddress) else item


def _marks(plan: Plan) -> tuple[str, ...]:
    items = {change.item for change in plan.changes} | {found.item for found in plan.conflicts}
    return tuple(sorted(map(_mark, items)))


def _file(mac: Mac) -> str:
    return f"{_FOLDER}/{mac}.json"


def _read(run: RunDir, mac: Mac, ifindex: int) -> _Record:
    """Of another attachment, or what is not as this version writes it, counts as nothing."""
    data = run.read(_file(mac))
    if data is None or data.get("ifindex") != ifindex:
        return _Record(ifindex)
    try:
        told = tuple(_drift(row) for row in data["story"])
        given = str(data["given"])
        _seconds(given or now(), now())  # or it is no time that is written here
        in_place = frozenset(map(str, data["in_place"]))
        return _Record(ifindex, in_place, int(data["intended"]), given, told)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return _Record(ifindex)


def _drift(row: dict[str, Any]) -> Drift:
    texts = {name: tuple(map(str, row[name])) for name in ("what", "items", "known")}
    drift = Drift(**{**row, **texts, "times": int(row["times"])})
    _seconds(drift.noticed, drift.last)  # or these are no times that are written here
    _seconds(drift.last, now())
    return drift


def _write(run: RunDir, mac: Mac, record: _Record) -> None:
    """Raises ``StateError``."""
    told = [asdict(drift) for drift in record.story]
    run.write(
        _file(mac),
        {
            "ifindex": record.ifindex,
            "in_place": sorted(record.in_place),
            "intended": record.intended,
            "given": record.given,
            "story": told,
        },
    )
