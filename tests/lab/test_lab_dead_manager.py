# SPDX-License-Identifier: Apache-2.0
"""A stopped network manager keeps its ENIs: live changes continue, and its restart does no harm."""

from collections.abc import Iterator

import pytest
from dead_manager import (
    HEAD,
    Death,
    Event,
    Row,
    Scene,
    come_back,
    die,
    is_active,
    manager_files,
    measured,
)
from kernel_state import differences
from lab_instance import LabInstance
from lab_root import Release

pytestmark = pytest.mark.lab

CELLS = [
    pytest.param(
        death,
        event,
        id=f"{death.value}, {event.value}",
        # ``make test`` has each death and each event once.
        marks=()
        if list(Death).index(death) == list(Event).index(event)
        else pytest.mark.exhaustive,
    )
    for death in Death
    for event in Event
]


@pytest.fixture(scope="module")
def table(pair: LabInstance) -> Iterator[list[Row]]:
    """Prints its rows at the end. networkd 252 forgets its metrics the first time it stops."""
    die(pair, Death.STOP)
    pair.host.ec2net("refresh", check=False)
    come_back(pair, Death.STOP)
    pair.until_at_rest()
    pair.refresh()
    rows: list[Row] = []
    yield rows
    print(f"\n{HEAD}\n" + "\n".join(map(str, rows)))


def given_up(instance: LabInstance) -> set[str]:
    """Addresses that the network manager removes when it stops: networkd 252 releases its DHCPv6
    leases."""
    setting = instance.setting
    if setting.release is not Release.BOOKWORM or setting.backend != "networkd":
        return set()
    return {str(eni.ipv6s[0]) for eni in instance.vpc.enis}


def made_while_down(instance: LabInstance, death: Death, event: Event, row: Row) -> str:
    """Traffic that works before the network manager runs again. A new ENI waits for a
    NetworkManager that systemd is to start again: NetworkManager would call the ENI external if
    another program brought it up."""
    if event is Event.NEW_ENI and death is Death.KILL:
        return row.made  # the rules may be back already
    if event is Event.NEW_ENI:
        waits = instance.setting.backend == "networkmanager" and death is not Death.MASK
        return "ENI pending" if waits else "ENI works"
    return {
        Event.NEW_ADDRESS: "address works",
        Event.LOST_ENI: "rules gone",
        Event.NOTHING: "-",
    }[event]


@pytest.mark.parametrize(("death", "event"), CELLS)
def test_a_dead_network_manager_keeps_its_enis(
    pair: LabInstance, table: list[Row], death: Death, event: Event
) -> None:
    """Every live change is made meanwhile, the files stay, no packet leaves through the wrong ENI,
    and after the restart the state is complete without a repair."""
    before, files = pair.kernel(), manager_files(pair)
    row, cursor = Row(str(pair.setting), death, event), pair.host.cursor()
    with Scene(pair, event) as scene:
        with measured(pair, row, [pair.primary, pair.secondary]):
            die(pair, death)
            down = not is_active(pair)
            scene.happen()
            pair.host.ec2net("refresh", check=False)
            pair.host.ec2net("refresh", check=False)  # where the first pass waited for a reload
            row.made, row.kept = scene.result(), manager_files(pair)
            if death is not Death.KILL:
                come_back(pair, death)
            for eni in pair.vpc.enis:
                pair.until_unit(eni.name, "active")
            pair.until_at_rest(pair.primary, pair.secondary)
            pair.until_well()
        table.append(row)
        print(row)
        unreachable, repaired = pair.unreachable(), pair.refresh()
    journal = [e.message for e in pair.host.journal(since=cursor) if e.identifier == "ec2net"]
    assert down or death in (Death.KILL, Death.BUS)
    assert set(files) <= set(row.kept)
    assert (unreachable, repaired) == ([], "")
    assert row.wrong == 0, pair.vpc.drops()
    assert row.made == made_while_down(pair, death, event, row)
    gaps = [gap for gap in row.gaps if not {gap.source, gap.destination} & given_up(pair)]
    assert gaps == [], gaps[:9]
    blamed = [line for line in journal if "changed outside of ec2net" in line]
    changed = [*blamed, *differences(before, pair.kernel())]
    # The flags show whether networkd or ec2net added the released address first.
    assert [line for line in changed if not any(a in line for a in given_up(pair))] == []
