# SPDX-License-Identifier: Apache-2.0
"""What can be known of who changed something of an ENI. Pure over what was seen.

Nothing tells who made a change: the kernel's dumps do not, and an event has at most a netlink
port, which need not be a process. Known is what took the place, who else works on the link, and
what the kernel itself does when a link is set down.
"""

from collections.abc import Collection, Iterator

from ec2net.core.host.files import Environment
from ec2net.core.host.managers import Manager, link_manager
from ec2net.core.host.other_tools import Danger, recognise
from ec2net.core.model.facts import Link
from ec2net.core.model.objects import LinkSetting, Setting
from ec2net.core.model.plan import Conflict, Item, Plan
from ec2net.core.model.snapshot import Snapshot

_MAKERS = {2: "kernel", 3: "ip", 4: "static", 9: "ra", 16: "dhcp"}
"""Names of protocol numbers, as ip-route(8) has them; 3 (boot) is what ``ip`` gives by default."""


def suspects(
    drifted: Plan, link: Link, snapshot: Snapshot, environment: Environment
) -> tuple[str, ...]:
    """What is known, the most telling first; empty if nothing is.

    ``environment`` has the links of all ENIs.
    """
    found = [*_replacements(drifted.conflicts, snapshot)]
    if any(_set_down(change.item) for change in drifted.changes):
        found.append(f"{link.name} was set down, which takes its routes along")
    manager = link_manager(link, environment)
    if manager in (Manager.NETWORKD, Manager.NETWORKMANAGER, Manager.SEVERAL):
        found.append(f"{link.name} is managed by {manager.value}")
    for tool in recognise(environment):
        if tool.danger is not Danger.NONE and (tool.links is None or link.name in tool.links):
            found.append(f"{tool.tool}: {tool.trace}")
    return tuple(dict.fromkeys(found))


def _replacements(conflicts: Collection[Conflict], snapshot: Snapshot) -> Iterator[str]:
    """By the protocol number of what stands there now."""
    makers: dict[Item, int] = {found.item: found.protocol for found in snapshot.objects}
    for conflict in conflicts:
        if protocol := makers.get(conflict.foreign):
            name = f" ({_MAKERS[protocol]})" if protocol in _MAKERS else ""
            yield f"what stands there has protocol {protocol}{name}"


def _set_down(item: Item) -> bool:
    return isinstance(item, LinkSetting) and item.setting is Setting.UP
