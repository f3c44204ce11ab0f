# SPDX-License-Identifier: Apache-2.0
"""Tables that ec2net keeps for ENIs, and that another program uses: reported before they are shared. Pure.

FRR's PBR takes tables from 10000 on, whatever they contain (pbrd/pbr_nht.c). Two default routes then
stand in one table, and traffic of one program follows the other's. A rule into such a table is no
sign: users make rules to the table of an ENI on purpose.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator

from ec2net.core.decide.intent import EniOutcome, HostIntent, Standing
from ec2net.core.model.errors import SharedTables
from ec2net.core.model.identity import Mac
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.objects import Route
from ec2net.core.model.policy_rule import KERNEL, maker_of
from ec2net.core.model.snapshot import Snapshot

SHOWN = 3
"""Tables that are named."""

_PBR = 195
"""FRR's RTPROT_PBR (zebra/rt_netlink.h)."""

_REMEDY = "let it use other tables, or change numbers.table_base in ec2net's configuration"


def shared_tables(
    host: HostIntent, snapshot: Snapshot, numbers: NumberPlan, observed: Collection[Mac] = ()
) -> tuple[SharedTables, ...]:
    """One for each program with routes in such tables. A route that leads as ec2net's would is no
    matter, except in a table of FRR's. ``observed``: ENIs that another tool may configure."""
    enis = {eni.table: eni for eni in host.enis if eni.table is not None}
    found: defaultdict[int, dict[int, EniOutcome | None]] = defaultdict(dict)
    for made in snapshot.routes:
        route, eni = made.item, enis.get(made.item.table)
        if route.table not in numbers.tables or made.protocol in (KERNEL, numbers.protocol):
            continue
        if eni is not None and not _is_kept(eni, observed):
            continue
        if eni is None or made.protocol == _PBR or _leads_elsewhere(eni, route):
            found[made.protocol][route.table] = eni
    return tuple(_told(protocol, tables) for protocol, tables in sorted(found.items()))


def _leads_elsewhere(eni: EniOutcome, route: Route) -> bool:
    """Whether a route is no default route through the ENI's gateway, and none that users add."""
    if route.link not in eni.links:
        return True
    known = eni.intent.gateways if eni.intent is not None else ()
    return not route.destination.prefixlen and route.gateway not in (None, *known)


def _is_kept(eni: EniOutcome, observed: Collection[Mac]) -> bool:
    """Whether ec2net uses the table of ``eni``, or may use it."""
    if eni.mac in observed:
        return False
    if eni.intent is None:
        return eni.standing is Standing.PENDING
    return bool(eni.intent.rules) or eni.intent.primary


def _told(protocol: int, tables: dict[int, EniOutcome | None]) -> SharedTables:
    more = len(tables) - SHOWN
    others = f" and {more} more" if more > 0 else ""
    program = maker_of(protocol)
    fix = "set 'pbr table range 30000 40000' in frr.conf" if protocol == _PBR else _REMEDY
    return SharedTables(
        f"it has routes in tables that ec2net keeps for ENIs: {', '.join(_names(tables))}{others};"
        " its traffic, or that of these ENIs, may take the wrong route",
        frozenset(eni.mac for eni in tables.values() if eni is not None),
        subject=program,
        remedy=fix,
    )


def _names(tables: dict[int, EniOutcome | None]) -> Iterator[str]:
    for table, eni in sorted(tables.items())[:SHOWN]:
        yield f"{table} of {eni.name}" if eni is not None else str(table)
