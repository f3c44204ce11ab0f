# SPDX-License-Identifier: Apache-2.0
"""Reports, plans and intents as plain data for ``--json``: addresses, MACs and links as text.

``version`` in each document is that of its schema; keys are only added within one.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ec2net.core.decide.intent import EniIntent, EniOutcome
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Change, Conflict, Plan
from ec2net.core.state.codec import encode
from ec2net.core.state.holds import Hold

if TYPE_CHECKING:  # a program that reads a status needs no engine
    from ec2net.core.state.drift_record import Drift

VERSION = 1


def change(step: Change) -> dict[str, Any]:
    return {
        "action": step.action.name.lower(),
        "kind": type(step.item).__name__.lower(),
        "eni": encode(step.mac),
        "text": step.item.describe(),
        "item": encode(step.item),
        "before": encode(step.before),
    }


def conflict(found: Conflict) -> dict[str, Any]:
    return {"eni": str(found.mac), "text": found.describe(), "foreign": encode(found.foreign)}


def plan(whole: Plan) -> dict[str, Any]:
    return {
        "changes": [change(step) for step in whole.changes],
        "conflicts": [conflict(found) for found in whole.conflicts],
    }


def hold(found: Hold | None) -> dict[str, Any] | None:
    """The changes that ec2net does not retry for one ENI; None if there is no hold."""
    if found is None:
        return None
    return {"since": found.since, "reason": found.reason, "changes": list(found.changes)}


def drift(found: "Drift | None") -> dict[str, Any] | None:
    """The drift of an ENI; None if there is none."""
    return None if found is None else {k: v for k, v in encode(found).items() if k != "items"}


def eni(outcome: EniOutcome) -> dict[str, Any]:
    """The state of an ENI, with its intent if there is one."""
    return {
        "mac": str(outcome.mac),
        "eni_id": encode(outcome.eni_id),
        "link": encode(outcome.link),
        "attached": encode(outcome.attached),
        "standing": outcome.standing.value,
        "reason": outcome.reason,
        "intent": _intent(outcome.intent) if outcome.intent else None,
    }


def _intent(intent: EniIntent) -> dict[str, Any]:
    """The same pass after pass. Intents that differ by their link's name alone are equal."""
    known = _known.get(intent.mac)
    if known is None or known[0] != intent or known[0].link.name != intent.link.name:
        known = _known[intent.mac] = intent, _whole(intent)
    return known[1]


def keep_only(macs: Collection[Mac]) -> None:
    """Forget the documents of all other ENIs."""
    for mac in _known.keys() - set(macs):
        del _known[mac]


_known: dict[Mac, tuple[EniIntent, dict[str, Any]]] = {}
"""The last document of each ENI.

The key is the MAC: the hash of an intent covers all its items and costs 14 ms for these 64 ENIs in
each pass.
"""


_ITEMS = (
    "rules",
    "corrections",
    "no_ipv4",
    "table_routes",
    "copied_routes",
    "main_routes",
    "subnet_routes",
    "correction_routes",
    "local_routes",
)


def _whole(intent: EniIntent) -> dict[str, Any]:
    """With the rules that lead its sources; not with those that stand for them in the kernel."""
    items: dict[str, Any] = dict.fromkeys((*_ITEMS, "made_rules"), ())
    data: dict[str, Any] = encode(replace(intent, **items))
    del data["made_rules"]
    for key in _ITEMS:
        data[key] = [item.describe() for item in getattr(intent, key)]
    return data
