# SPDX-License-Identifier: Apache-2.0
"""The checks behind the ticks of the demo: real connections, counters and dumps."""

import json
import time
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import Any

from ec2net.core.simulation.demo.stage import CONTAINER, PROPAGATION, Stage
from ec2net.core.simulation.demo.steps import Verdict
from ec2net.core.simulation.vpc.connections import Address, Answer, Tick
from ec2net.core.simulation.vpc.eni import Eni

BROKEN_LIMIT = 0.3
"""Seconds for connections that must fail; those that work take some milliseconds."""

Judge = Callable[[Stage], Verdict]
Enis = Callable[[Stage], Sequence[Eni]]


def connections(enis: Enis) -> Judge:
    """From and to every address of the ENIs; the far end must see the right address."""

    def judge(stage: Stage) -> Verdict:
        stage.deadline.check()
        chosen = enis(stage)
        out, into = stage.vpc.check_out(*chosen), stage.vpc.check_in(*chosen)
        made = sum(tick.ok for tick in out + into)
        total = len(out) + len(into)
        failed = [tick for tick in out + into if not tick.ok]
        lines = [line for eni in chosen for line in _by_eni(eni, out, into)]
        lines += [f"✘ {tick.link} {tick.address}: {tick.reason}" for tick in failed]
        return Verdict(total > 0 and not failed, f"{made} of {total} connections", tuple(lines))

    return judge


def _by_eni(eni: Eni, out: Sequence[Tick], into: Sequence[Tick]) -> list[str]:
    """One line per family: each address with its ticks out and in, those of a prefix together."""
    ticks = {(way, tick.address): tick.ok for way, t in ((0, out), (1, into)) for tick in t}

    def holder(address: Any) -> str:
        return next((str(p) for p in eni.prefixes() if address in p), str(address))

    lines = []
    for version in (4, 6):
        own = [address for address in eni.samples() if address.version == version]
        cells = [
            f"{name} " + "".join(_signs(ticks, list(members)))
            for name, members in groupby(own, holder)
        ]
        if cells:
            lines.append(f"{eni.name}  {'  '.join(cells)}")
    return lines


def _signs(ticks: dict[tuple[int, Any], bool], members: list[Any]) -> list[str]:
    return [
        "✔" if ticks.get((way, member)) else "✘"
        for way in (0, 1)
        for member in members
        if (way, member) in ticks
    ]


def dropped_on_the_way(sources: Callable[[Stage], Collection[Address]]) -> Judge:
    """Nothing that the second ENI's ``sources`` send gets out, and it is the source check that
    drops it: its counter moves."""

    def judge(stage: Stage) -> Verdict:
        chosen = sources(stage)
        ticks = [
            tick
            for tick in stage.vpc.check_out(stage.second, timeout=BROKEN_LIMIT)
            if tick.address in chosen
        ]
        before, now = stage.dropped, stage.vpc.dropped()
        stage.dropped = now
        through = sum(tick.ok for tick in ticks)
        reason = f"{through} of {len(ticks)} connections, {now - before} packets dropped"
        return Verdict(bool(ticks) and not through and now > before, reason)

    return judge


def nothing_dropped(stage: Stage) -> Verdict:
    """The source check's counter stands where it stood."""
    before, now = stage.dropped, stage.vpc.dropped()
    stage.dropped = now
    drops = tuple(
        f"✘ {drop.source} to {drop.destination} at {drop.port}: {drop.packets} packets"
        for drop in stage.vpc.drops()
    )
    return Verdict(now == before, f"counter {before} -> {now}", () if now == before else drops)


def container_through_docker0(stage: Stage) -> Verdict:
    """Connect from an address of the second ENI to the container."""
    return _connected(stage, CONTAINER)


def neighbour_through_own_eni(stage: Stage) -> Verdict:
    """Connect from each IPv4 address of the second ENI to a host of its subnet."""
    assert stage.neighbour.ipv4 is not None
    return _connected(stage, stage.neighbour.ipv4)


def _connected(stage: Stage, to: Any) -> Verdict:
    for source in stage.second.ipv4s:
        answer = stage.vpc.connect(stage.guest, source, to)
        if not isinstance(answer, Answer):
            return Verdict(False, f"{source} to {to}: {answer.reason}")
        if answer.seen != source:
            return Verdict(False, f"{to} saw {answer.seen} instead of {source}")
    return Verdict(True, f"{len(stage.second.ipv4s)} connections to {to}")


def keep(name: str) -> Callable[[Stage], None]:
    """Remember the guest's addresses, routes and rules for :func:`same_as`."""

    def remember(stage: Stage) -> None:
        stage.kept[name] = stage.objects()

    return remember


def same_as(name: str) -> Judge:
    """Addresses, routes and rules are as :func:`keep` found them."""

    def judge(stage: Stage) -> Verdict:
        before, now = stage.kept[name], stage.objects()
        lines = tuple(
            f"✘ {sign} {text}"
            for kind in now
            for sign, some, others in (("-", before, now), ("+", now, before))
            for text in some[kind]
            if text not in others[kind]
        )
        count = sum(map(len, now.values()))
        return Verdict(before == now, f"{count} entries of 'ip -d -j'", lines)

    return judge


def plan_is_empty(stage: Stage) -> Verdict:
    """Ask the program itself, for machines."""
    result = stage.run("ec2net plan --json")
    try:
        plan = json.loads(result.output)
    except ValueError:
        return Verdict(False, f"no JSON: {result.output[:100]}")
    steps = [change["text"] for change in plan["changes"] + plan["conflicts"]]
    return Verdict(not steps, f"{len(steps)} changes", tuple(f"✘ {step}" for step in steps))


def reachable_in(stage: Stage) -> Verdict:
    """Every address of the hotplugged ENI answers; the time is from its link on until now."""
    assert stage.third is not None
    verdict = connections(lambda stage: [stage.third] if stage.third else [])(stage)
    seconds = time.monotonic() - stage.plugged_at
    told = f"{seconds:.1f} s after its link appeared, {seconds - (PROPAGATION.settled or 0):.1f} s"
    return Verdict(
        verdict.ok,
        f"{verdict.reason}, {told} after IMDS reported its number"
        if verdict.ok
        else verdict.reason,
        verdict.details,
    )


def mentions(*texts: Callable[[Stage], object], there: bool) -> Judge:
    """Whether each text is (not) among the guest's addresses, routes and rules."""

    def judge(stage: Stage) -> Verdict:
        everything = "\n".join(text for items in stage.objects().values() for text in items)
        wanted = [str(text(stage)) for text in texts]
        wrong = [text for text in wanted if (f'"{text}"' in everything) is not there]
        missing = "missing" if there else "still present"
        return Verdict(not wrong, f"{missing}: {', '.join(wrong)}" if wrong else "")

    return judge


def foreign_untouched(stage: Stage) -> Verdict:
    """Foreign objects are the same as at the start, letter for letter."""
    before, now = stage.kept["foreign"], stage.foreign()
    lines = [f"✘ - {text}" for text in before if text not in now]
    lines += [f"✘ + {text}" for text in now if text not in before]
    return Verdict(before == now and len(now) > 0, f"{len(now)} entries", tuple(lines))


def keep_foreign(stage: Stage) -> None:
    stage.kept["foreign"] = stage.foreign()
