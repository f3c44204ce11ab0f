# SPDX-License-Identifier: Apache-2.0
"""Whether the leased routes of secondary ENIs may stay in main. Pure.

A new activation would move them at once, and takes the lease and every address off the link for a
moment. It is needed in two cases. Either ec2net has no rules that keep the primary ENI's traffic on
the primary ENI. Or the secondary ENI's default route precedes the primary ENI's: no rule corrects it.

NetworkManager keeps the table until the next activation, but reads the metric of the file again at
each advertisement of a router. The primary ENI's metric of the file is worse than
NetworkManager's own metrics. Therefore the file must not name it while other ENIs have default
routes in main.
"""

from ec2net.core.plugins.api import HostIntent, LinkRef, Snapshot


def may_stay(link: LinkRef, host: HostIntent, snapshot: Snapshot, *, protocol: int) -> bool:
    """``link``: of the secondary ENI. ``protocol``: ec2net's mark."""
    primary = next((intent for intent in host.ready if intent.primary), None)
    if primary is None or not (primary.correctable or primary.rules):
        return False
    for version in (4, 6):
        metrics = _defaults(snapshot, version, protocol)
        own, first = metrics.get(link.index), metrics.get(primary.link.index)
        if own is None or (first is None and version == 6):
            continue  # the advertisement of the primary ENI's router may be yet to come
        if first is None or own <= first:
            return False
    return True


def some_stay(host: HostIntent, snapshot: Snapshot, *, protocol: int) -> bool:
    """Whether leased default routes of secondary ENIs are in main and stay there."""
    in_main = _defaults(snapshot, 4, protocol).keys() | _defaults(snapshot, 6, protocol).keys()
    found = [eni.link for eni in host.enis if eni.link is not None and eni.link.index in in_main]
    others = [link for link in found if link != host.primary_link]
    stay = (may_stay(link, host, snapshot, protocol=protocol) for link in others)
    return bool(others) and all(stay)


def _defaults(snapshot: Snapshot, version: int, protocol: int) -> dict[int, int]:
    """By link, the best metric of its default routes in main."""
    found: dict[int, int] = {}
    for route in snapshot.main_defaults(version, not_by=protocol):
        index = route.link.index
        found[index] = min(route.metric, found.get(index, route.metric))
    return found
