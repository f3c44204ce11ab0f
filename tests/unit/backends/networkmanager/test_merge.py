# SPDX-License-Identifier: Apache-2.0
"""ec2net's settings in an applied connection, in addition to a user's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.backends.networkmanager.merge import (
    RECORD,
    Key,
    merged,
    recorded,
    users_own,
    without_old_keys,
)
from ec2net.backends.networkmanager.typed import Settings, Typed

MTU: Key = ("802-3-ethernet", "mtu")


def applied(mtu: int | None = None, user: dict[str, str] | None = None) -> Settings:
    """As NetworkManager returns a DHCP profile: lists in both forms."""
    settings: Settings = {
        "connection": {"id": Typed("s", "Wired connection 1")},
        "802-3-ethernet": {"s390-options": Typed("a{ss}", {})},
        "ipv4": {
            "method": Typed("s", "auto"),
            "addresses": Typed("aau", []),
            "address-data": Typed("aa{sv}", []),
            "routes": Typed("aau", [[1, 2, 3, 4]]),
            "route-data": Typed("aa{sv}", [{"dest": Typed("s", "192.0.2.0")}]),
        },
        "ipv6": {"method": Typed("s", "auto"), "routes": Typed("a(ayuayu)", [])},
    }
    if mtu is not None:
        settings["802-3-ethernet"]["mtu"] = Typed("u", mtu)
    if user is not None:
        settings["user"] = {"data": Typed("a{ss}", user)}
    return settings


def want(mtu: int) -> dict[Key, Typed]:
    return {MTU: Typed("u", mtu)}


def once(settings: Settings, wanted: dict[Key, Typed]) -> Settings:
    result = merged(settings, wanted)
    assert result is not None
    return result


def test_a_setting_is_recorded_and_reverted() -> None:
    ours = once(applied(), want(1500))
    assert ours["802-3-ethernet"]["mtu"] == Typed("u", 1500)
    assert recorded(ours)[MTU].ours == 1500
    back = once(ours, {})
    assert "mtu" not in back["802-3-ethernet"]
    assert "user" not in back


def test_a_change_by_ec2net_keeps_the_earlier_values() -> None:
    ours = once(once(applied(mtu=0), want(1500)), want(1400))
    assert ours["802-3-ethernet"]["mtu"] == Typed("u", 1400)
    assert once(ours, {})["802-3-ethernet"]["mtu"] == Typed("u", 0)


def test_a_users_own_value_stays() -> None:
    """A profile that names an MTU."""
    assert merged(applied(mtu=9000), want(1500)) is None
    assert users_own(applied(mtu=9000), MTU) == 9000


def test_a_users_run_time_edit_stays() -> None:
    """``nmcli device modify`` after ec2net: the value is the user's then, and no setting of ec2net
    is left."""
    ours = once(applied(), want(1500))
    edited = {**ours, "802-3-ethernet": {"mtu": Typed("u", 1300)}}
    result = once(edited, want(1500))
    assert result["802-3-ethernet"]["mtu"] == Typed("u", 1300)
    assert "user" not in result
    assert merged(result, want(1500)) is None


def test_foreign_data_in_the_user_setting_stays() -> None:
    settings = applied(user={"com.example.note": "keep"})
    ours = once(settings, want(1500))
    assert ours["user"]["data"].value["com.example.note"] == "keep"
    assert once(ours, {})["user"]["data"] == Typed("a{ss}", {"com.example.note": "keep"})


def test_deprecated_forms_of_lists_are_not_sent() -> None:
    """Sent with the new ones they win, and a user's routes would lose table, source and on-link."""
    result = once(applied(), want(1500))
    for family in ("ipv4", "ipv6"):
        assert not {"addresses", "routes"} & set(result[family])
    assert result["ipv4"]["route-data"] == applied()["ipv4"]["route-data"]


def test_dns_is_omitted_only_where_its_new_form_exists() -> None:
    old = {"ipv4": {"dns": Typed("au", [1])}}
    assert without_old_keys(old) == old
    both = {"ipv4": {"dns": Typed("au", [1]), "dns-data": Typed("as", ["10.0.0.2"])}}
    assert without_old_keys(both) == {"ipv4": {"dns-data": Typed("as", ["10.0.0.2"])}}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"mtu": 1}', '{"802-3-ethernet.mtu": 3}', '{"x": {"ours": 1}}', "null"]
)
def test_an_invalid_record_counts_as_absent(text: str) -> None:
    settings = applied(mtu=1500, user={RECORD: text})
    assert recorded(settings) == {}
    assert users_own(settings, MTU) == 1500


mtus = st.none() | st.integers(1280, 9001)


@given(before=mtus, steps=st.lists(st.tuples(st.sampled_from(["we", "user"]), mtus), max_size=6))
def test_removal_leaves_nothing_of_ec2net_and_keeps_the_users_last_edit(
    before: int | None, steps: list[tuple[str, int | None]]
) -> None:
    """For any order of ec2net's and a user's changes: idempotent, and reverted without a trace."""
    settings, users = applied(mtu=before), before
    for who, value in steps:
        if who == "we":
            wanted: dict[Key, Typed] = {} if value is None else want(value)
            settings = merged(settings, wanted) or settings
            assert merged(settings, wanted) is None
            present = settings["802-3-ethernet"].get("mtu")
            expected = users if users is not None else value
            assert (None if present is None else present.value) == expected
        elif value is not None:
            section: dict[str, Any] = {**settings["802-3-ethernet"], "mtu": Typed("u", value)}
            settings = {**settings, "802-3-ethernet": section}
            # A value that ec2net set before is the user's once a user sets it again (or returns
            # to it).
            entry = recorded(settings).get(MTU)
            users = None if entry is not None and int(entry.ours) == value else value
    settings = merged(settings, {}) or settings
    assert "user" not in settings
    present = settings["802-3-ethernet"].get("mtu")
    assert (None if present is None else present.value) == users
