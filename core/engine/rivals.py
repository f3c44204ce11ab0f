# SPDX-License-Identifier: Apache-2.0
"""ENIs that another tool configures as well: refused unless the configuration accepts it. Pure.

Two tools that create and remove the same addresses, rules and routes undo each other's work without
end, and neither is at fault. ec2net therefore changes nothing on such an ENI, on any backend, until
one of the two has ended. The three such tools are ``core/config/settings.py``'s ``Rival``.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ec2net.core.config.settings import Rival
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import Recognised, rivals
from ec2net.core.model.errors import DoubleManagement
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.choose import Choice


def refuse(
    host: HostIntent, choices: Mapping[Mac, Choice], environment: Environment
) -> tuple[HostIntent, dict[Mac, Choice], tuple[DoubleManagement, ...]]:
    """Without an intent and a backend for those ENIs; and a problem for each tool.

    ``environment`` has the links of all ENIs. An ENI that is unchanged anyway (``manage =
    "observe"``) may belong to any tool.
    """
    reasons: dict[Mac, str] = {}
    problems = []
    for tool in rivals(environment):
        doubled = {
            intent.mac: intent.link.name
            for intent in host.ready
            if not intent.manage.hands_off and concerns(tool, intent.link.name, intent.coexist_with)
        }
        if doubled:
            problems.append(_problem(tool, doubled))
        for mac in doubled:
            reasons.setdefault(mac, f"{tool.tool} configures it ({tool.trace}); {tool.remedy}")
    refused = {
        mac: replace(choices[mac], backend=None, reasons=(reason,))
        for mac, reason in reasons.items()
        if mac in choices
    }
    host = host.without(reasons, Standing.REFUSED)
    enis = tuple(replace(eni, apart=True) if eni.mac in reasons else eni for eni in host.enis)
    return replace(host, enis=enis), {**choices, **refused}, tuple(problems)


def concerns(tool: Recognised, link: str, accepted: Collection[Rival]) -> bool:
    """Whether the ENI with this link is refused because of ``tool``."""
    return tool.rival not in accepted and (tool.links is None or link in tool.links)


def _problem(tool: Recognised, doubled: Mapping[Mac, str]) -> DoubleManagement:
    names = ", ".join(doubled.values())
    return DoubleManagement(
        f"the tool configures {names} ({tool.trace}), so ec2net changes nothing there",
        frozenset(doubled),
        subject=tool.tool.value,
        remedy=f'{tool.remedy}; or accept both: coexist_with = ["{tool.rival}"]',
    )
