# SPDX-License-Identifier: Apache-2.0
"""The checks that passed, and the subjects that no check covers. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ec2net.core.decide.intent import Standing
from ec2net.core.doctor.finding import Check, Finding
from ec2net.core.doctor.readings import Readings
from ec2net.core.engine.pass_plan import View

_NEVER = ("security groups", "network ACLs", "the VPC's route tables", "filters of tc and eBPF")
"""Nothing on the host shows the first three."""

_OF_ENIS = {Standing.IGNORED: "ignored", Standing.REFUSED: "refused", Standing.PENDING: "pending"}


@dataclass(frozen=True, slots=True)
class Scope:
    """The checks without a finding, and the subjects that no check covers."""

    passed: tuple[Check, ...]
    not_checked: tuple[str, ...]

    def describe(self) -> str:
        number = len(self.passed)
        checks = f"{number} check{'' if number == 1 else 's'} passed"
        return f"{checks}; not checked: {', '.join(self.not_checked)}"


def scope(view: View, readings: Readings, found: Iterable[Finding]) -> Scope:
    """A check with a finding did not pass, nor one that could not look."""
    skipped = dict(_skipped(readings))
    failed = {one.check for one in found} | {Check.UNCHECKED} | skipped.keys()
    enis = tuple(
        f"{eni.name} ({_OF_ENIS[eni.standing]})"
        for eni in view.host.enis
        if eni.standing in _OF_ENIS
    )
    watched = tuple(
        f"{eni.name} (observed)" for eni in view.host.enis if eni.mac in view.observed_only
    )
    passed = tuple(check for check in Check if check not in failed)
    return Scope(passed, (*enis, *watched, *skipped.values(), *_NEVER))


def _skipped(readings: Readings) -> Iterator[tuple[Check, str]]:
    """Checks that could not look, each with its subject."""
    if readings.ruleset is None:
        yield Check.FILTER, "packet filters (nft is missing, refused or too slow)"
    if readings.silent_gateways is None:
        yield Check.GATEWAY, "gateways"
    if readings.failed_units is None:
        yield Check.UNIT_FAILED, "failed units"
    if readings.out_of_time:
        yield Check.ROUTING, "the way of each address"
