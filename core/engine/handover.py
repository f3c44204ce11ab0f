# SPDX-License-Identifier: Apache-2.0
"""ENIs that change from one backend to another.

Live objects carry one mark and settings one journal whichever backend made them: the next one finds
them as its own. What is left is what a single backend makes, such as files.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from ec2net.core.model.errors import Ec2netError
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.plugins.choose import Choice
from ec2net.core.plugins.guard import GuardedBackend


def add_leftovers(
    backends: Mapping[str, GuardedBackend],
    choices: Mapping[Mac, Choice],
    planned: Collection[Mac],
    plans: dict[str, Plan],
) -> Iterator[Ec2netError]:
    """Plan the end of what each backend made for ENIs that are another's now, after all else.

    ``plans`` is in the order in which plans are applied. Nothing goes for an ENI that is not among
    ``planned``, since no other has made its own yet, nor for one that no backend will have: its manager
    may be on its way back.
    """
    successors = {mac: choices[mac].backend for mac in planned if mac in choices}
    for name, backend in backends.items():
        mine = {mac for mac, choice in choices.items() if choice.backend == name}
        taken = {mac for mac, other in successors.items() if other is not None} - mine
        if not taken:
            continue
        try:
            left = backend.leftovers(taken, mine)
        except Ec2netError as error:
            yield error
            continue
        if left:
            removals = tuple(Change(Action.REMOVE, item, None) for item in left)
            plan = plans.pop(name, Plan())
            plans[name] = replace(plan, changes=(*plan.changes, *removals))
