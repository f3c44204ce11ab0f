# SPDX-License-Identifier: Apache-2.0
"""MTUs that the device of an ENI does not accept. Pure.

The kernel refuses such an MTU each time (EINVAL). ec2net therefore asks no backend for it. It is a
conflict of the plan, the link keeps its MTU, and the rest of the ENI is configured.
"""

from dataclasses import replace

from ec2net.core.config.settings import MtuPolicy
from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import LinkSetting, Setting
from ec2net.core.model.plan import Conflict
from ec2net.core.model.snapshot import Snapshot


def within_limits(host: HostIntent, snapshot: Snapshot) -> tuple[HostIntent, dict[Mac, Conflict]]:
    """``host`` without MTUs outside the limits of their devices, and a conflict for each of those.

    ``EarlyIntent`` keeps such an MTU, since it stays the same while limits come and go (an XDP
    program lowers them): systemd-networkd, which gets it, reduces it to the maximum by itself.
    """
    links = {link.index: link for link in snapshot.links}
    found = {
        intent.mac: conflict
        for intent in host.ready
        if (link := links.get(intent.link.index)) is not None
        and (conflict := _conflict(intent, link)) is not None
    }
    if not found:
        return host, found
    enis = tuple(
        replace(eni, intent=replace(eni.intent, mtu=MtuPolicy.KEEP))
        if eni.intent is not None and eni.mac in found
        else eni
        for eni in host.enis
    )
    return replace(host, enis=enis), found


def _conflict(intent: EniIntent, link: Link) -> Conflict | None:
    mtu = intent.mtu
    if isinstance(mtu, MtuPolicy) or link.accepts(mtu):
        return None
    above = mtu > link.mtu_min
    limit = f"at most {link.mtu_max}" if above else f"at least {link.mtu_min}"
    bound = f"{link.mtu_max} or less" if above else f"{link.mtu_min} or more"
    return Conflict(
        intent.mac,
        LinkSetting(intent.link, Setting.MTU, mtu),
        LinkSetting(intent.link, Setting.MTU, link.mtu),
        limit=f"the device accepts {limit}, so the MTU stays {link.mtu}",
        remedy=f'set mtu to {bound}, or to "keep"',
    )
