# SPDX-License-Identifier: Apache-2.0
"""Whether ec2net would configure each ENI after the end of a predecessor, asked before its end.

An ENI that ec2net would not configure would lose its routes together with the predecessor.
"""

from dataclasses import replace

from ec2net.core.config.settings import EniSection, Manage, Match, Rival
from ec2net.core.decide.intent import EniOutcome, Standing
from ec2net.core.engine.inspection import inspect
from ec2net.core.engine.pass_plan import View
from ec2net.core.engine.setup import opened
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.config_in_force import Workplace

OBSERVED = f'manage = "{Manage.OBSERVE}"'

_ACCEPT_ALL = EniSection(Match(name=("*",)), {"coexist_with": tuple(Rival)})
"""With this section, the other tool is no reason to refuse an ENI."""


def unconfigured(place: Workplace) -> dict[str, str]:
    """The ENIs that ec2net would not configure, with the reasons. Raises ``DeadlineExceeded``.

    An ignored ENI does not count: the configuration, udev or a network manager asks for that.
    """
    config = place.config
    config = replace(config, sections=(*config.sections, _ACCEPT_ALL))
    place = replace(place, loaded=replace(place.loaded, config=config))
    with opened(place) as engine:
        view = inspect(engine, Deadline(config.timeouts.pass_, "migrate"))
    reasons = {eni.name: _reason(eni, view) for eni in view.host.enis if eni.link is not None}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(eni: EniOutcome, view: View) -> str:
    if eni.mac in view.observed_only:
        return OBSERVED
    if eni.standing in (Standing.PENDING, Standing.REFUSED):
        return f"{eni.standing.value}: {eni.reason}"
    choice = view.choices.get(eni.mac)
    return "; ".join(choice.reasons) if choice is not None and choice.backend is None else ""
