# SPDX-License-Identifier: Apache-2.0
"""A stopped network manager keeps its ENIs: live changes continue, and its restart does no harm."""

import re
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
from kernel_state import State, differences
from lab_instance import COMPLETE_LIMIT, LabInstance
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
    """Every live change is made meanwhile, the files stay, and no packet leaves through the wrong
    ENI. After the restart the state is complete without a repair."""
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


@pytest.mark.exhaustive  # tests/unit/backends/networkmanager/test_backend.py has the decision
def test_a_lease_that_ends_while_the_network_manager_is_down_costs_a_secondary_nothing(
    pair: LabInstance, table: list[Row]
) -> None:
    """ec2net adds the address itself, and the network manager leases it in place at its return."""
    before, eni = pair.kernel(), pair.secondary
    row = Row(str(pair.setting), Death.STOP, Event.NOTHING)
    die(pair, Death.STOP)
    held = pair.host.ip("-4", "addr", "show", "dev", eni.name)[0]["addr_info"]
    length = next(a["prefixlen"] for a in held if a["local"] == str(eni.ipv4s[0]))
    lifetimes = ("valid_lft", "1", "preferred_lft", "1")
    address = f"{eni.ipv4s[0]}/{length}"
    pair.host.run(["ip", "addr", "change", address, "dev", eni.name, *lifetimes])
    pair.host.wait_until(
        lambda: f"+ address {address} dev {eni.name}" in told(pair), COMPLETE_LIMIT
    )
    pair.host.ec2net("refresh", check=False)
    assert pair.unreachable(eni) == []
    with measured(pair, row, [eni]):
        come_back(pair, Death.STOP)
        pair.until_at_rest(pair.primary, eni)
        pair.until_well()
    given_back = [gap for gap in row.gaps if gap.source not in given_up(pair)]
    assert (row.wrong, given_back) == (0, [])
    assert pair.refresh() == ""
    changed = differences(without_broadcast(before), without_broadcast(pair.kernel()))
    assert [line for line in changed if not any(a in line for a in given_up(pair))] == []


def without_broadcast(state: State) -> State:
    """A lease of an address that is there changes its lifetime, not its broadcast address."""
    drop = re.compile(r'"broadcast": "[^"]*", ')
    return {subject: [drop.sub("", line) for line in lines] for subject, lines in state.items()}


def told(instance: LabInstance) -> str:
    """The log lines of ec2net."""
    entries = instance.host.journal()
    return "\n".join(entry.message for entry in entries if entry.identifier == "ec2net")
