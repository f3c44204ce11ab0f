# SPDX-License-Identifier: Apache-2.0
"""Conclusions from NetworkManager's properties of a link, and the file for NetworkManager."""

from dataclasses import replace
from pathlib import Path

import pytest

from ec2net.backends.networkmanager import attempts, conf
from ec2net.backends.networkmanager.conf import ConfFile
from ec2net.backends.networkmanager.device import Device, Routes, left_alone, routes, waits
from ec2net.backends.networkmanager.render import conf_file
from ec2net.backends.networkmanager.typed import Section, Settings, Typed
from ec2net.core.live.owned_file import HEADER
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.state import per_eni
from ec2net.core.state.run_dir import RunDir


def route(dest: str, prefix: int = 0, table: int | None = None, via: str = "") -> Section:
    found: Section = {"dest": Typed("s", dest), "prefix": Typed("u", prefix)}
    if via:
        found = {**found, "next-hop": Typed("s", via)}
    return found if table is None else {**found, "table": Typed("u", table)}


def address(text: str, prefix: int) -> Section:
    return {"address": Typed("s", text), "prefix": Typed("u", prefix)}


MAIN = (
    route("10.0.2.0", 24),
    route("0.0.0.0", via="10.0.2.1"),
    route("2001:db8:0:2::", 64),
    route("fe80::", 64),
)
PARKED = (
    route("10.0.2.0", 24, 9999),
    route("0.0.0.0", 0, 9999, "10.0.2.1"),
    route("2001:db8:0:2::", 64, 9999),
    route("fe80::", 64),
)
ADDRESSES = (
    address("10.0.2.99", 24),
    address("10.0.2.4", 24),
    address("2001:db8:0:2::4", 128),
    address("fe80::4", 64),
)
APPLIED: Settings = {"ipv4": {"method": Typed("s", "auto")}, "ipv6": {}}
DEVICE = Device(
    "/d",
    state=100,
    connection="/c",
    active="/a",
    applied=APPLIED,
    routes=MAIN,
    addresses=ADDRESSES,
)
USERS = (
    route("192.0.2.0", 24, via="10.0.2.1"),
    route("10.0.0.0", 8, via="10.0.2.1"),
    route("198.51.100.0", 24),
    route("0.0.0.0", via="10.0.2.1"),
    route("2001:db8:9::", 48, via="fe80::1"),
    route("192.0.2.0", 24, 77),
)
"""Others' routes by the link, in main and elsewhere."""


def tagged(value: str) -> Settings:
    tag = {"org.freedesktop.nm-cloud-setup.skip": value}
    return {**APPLIED, "user": {"data": Typed("a{ss}", tag)}}


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        pytest.param(DEVICE, "", id="activated"),
        pytest.param(replace(DEVICE, managed=False, state=10), "does not manage", id="unmanaged"),
        pytest.param(replace(DEVICE, flags=0x5C), "", id="other flags"),
        pytest.param(replace(DEVICE, flags=0xDC), "another program", id="external"),
        pytest.param(replace(DEVICE, applied=tagged("yes")), "nm-cloud-setup.skip", id="skip tag"),
        pytest.param(replace(DEVICE, applied=tagged("no")), "", id="skip tag says no"),
        pytest.param(Device("/d", 30), "", id="no profile: one can be made"),
        pytest.param(Device("/d", 30, reason=39), "a user", id="disconnected by hand"),
        pytest.param(Device("/d", 30, profiles=1), "", id="its profile waits"),
        pytest.param(Device("/d", 20), "", id="no carrier yet"),
    ],
)
def test_which_devices_stay_unmanaged(device: Device, reason: str) -> None:
    said = left_alone(device)
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        pytest.param(None, "does not know it", id="unknown"),
        pytest.param(Device("/d", 20), "cannot activate it", id="no carrier yet"),
        pytest.param(Device("/d", 30, profiles=1), "not activated", id="its profile waits"),
        pytest.param(Device("/d", 30), "", id="no profile: one can be made"),
        pytest.param(Device("/d", 40, profiles=1), "", id="preparing"),
        pytest.param(Device("/d", 70, profiles=1), "", id="waits for leases, as a pass can"),
        pytest.param(DEVICE, "", id="activated"),
        pytest.param(Device("/d", 110, profiles=1), "deactivating", id="deactivating"),
        pytest.param(Device("/d", 120, profiles=1), "deactivating", id="failed"),
    ],
)
def test_which_states_of_a_device_ec2net_awaits(device: Device | None, reason: str) -> None:
    """A pass at the instant in which a link is new must not take it for done with."""
    said = waits(device)
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("device", "where"),
    [
        pytest.param(DEVICE, Routes.MAIN, id="as without us"),
        pytest.param(replace(DEVICE, routes=PARKED), Routes.PARKED, id="parked"),
        pytest.param(replace(DEVICE, routes=()), Routes.UNKNOWN, id="no lease yet"),
        pytest.param(replace(DEVICE, routes=MAIN[3:]), Routes.UNKNOWN, id="link-local only"),
        pytest.param(replace(DEVICE, state=110), Routes.UNKNOWN, id="deactivating"),
        pytest.param(Device("/d", 30), Routes.NONE, id="no profile"),
        pytest.param(
            replace(DEVICE, routes=(PARKED[0], MAIN[2])), Routes.MAIN, id="one family in main"
        ),
        pytest.param(
            replace(DEVICE, routes=(*PARKED, *USERS)),
            Routes.PARKED,
            id="parked, with foreign routes",
        ),
        pytest.param(
            replace(DEVICE, routes=(*MAIN, *USERS)),
            Routes.MAIN,
            id="in main, with foreign routes",
        ),
        pytest.param(
            replace(DEVICE, routes=USERS), Routes.UNKNOWN, id="no lease yet, others' routes"
        ),
        pytest.param(
            replace(DEVICE, routes=(*PARKED, MAIN[0])), Routes.PARKED, id="parked, a VIP's in main"
        ),
        pytest.param(
            replace(DEVICE, routes=(*PARKED, *MAIN)), Routes.MAIN, id="parked before a restart"
        ),
        pytest.param(
            replace(
                DEVICE,
                routes=(route("10.0.2.0", 25), *PARKED[2:]),
                applied={
                    "ipv4": {"route-data": Typed("aa{sv}", [route("10.0.2.0", 25)])},
                    "ipv6": {},
                },
            ),
            Routes.PARKED,
            id="a static route of the profile in main",
        ),
        pytest.param(
            replace(DEVICE, applied={"ipv4": {"route-table": Typed("u", 200)}, "ipv6": {}}),
            Routes.PROFILE,
            id="the profile names a table",
        ),
    ],
)
def test_which_table_has_the_leased_routes(device: Device, where: Routes) -> None:
    assert routes(device) is where


def eni(n: int, *, permanent: bool = True) -> Link:
    return Link(
        index=n + 2,
        name=f"ens{n + 5}",
        mac=Mac(f"06:ec:02:00:00:0{n}"),
        driver="ena",
        kind="",
        mtu=9001,
        up=True,
        group=0,
        permanent=permanent,
    )


WHOLE = """\
# Made by ec2net for the primary ENI 06:ec:02:00:00:00
# What a profile says itself counts more; a file of this name in
# /etc/NetworkManager/conf.d replaces this one.

[connection-80-ec2net-primary]
match-device=mac:06:ec:02:00:00:00
ipv4.route-metric=512
ipv6.route-metric=512

[connection-80-ec2net]
match-device=driver:ena,driver:ixgbevf,except:mac:06:ec:02:00:00:00
ipv4.route-table=9999
ipv6.route-table=9999
ipv4.dns-priority=200
ipv6.dns-priority=200
"""


def test_the_file_parks_every_eni_except_the_primary() -> None:
    """Also an ENI that is attached later: the driver matches, not the MAC."""
    file = conf_file(eni(0), 512, 9999, {"ixgbevf", "ena"})
    assert file.content == WHOLE
    assert file.ours
    assert file.owner == Mac("06:ec:02:00:00:00")


def test_unmanaged_enis_are_not_in_the_file() -> None:
    text = conf_file(eni(0), 512, 9999, {"ena"}, [eni(2), eni(1)]).content
    others = "except:mac:06:ec:02:00:00:01,except:mac:06:ec:02:00:00:02"
    assert f"match-device=driver:ena,except:mac:06:ec:02:00:00:00,{others}\n" in text
    alone = conf_file(eni(0), 512, 9999, {"ena"}, [eni(0)]).content
    assert "route-metric" not in alone


def test_the_file_lists_the_present_enis_where_later_ones_are_unmanaged() -> None:
    """NetworkManager activates a new link at once, before ec2net could exclude it in the file."""
    now = [eni(0), eni(2), eni(1), eni(3)]
    text = conf_file(eni(0), 512, 9999, {"ena"}, [eni(3)], only=now).content
    assert "match-device=mac:06:ec:02:00:00:01,mac:06:ec:02:00:00:02\n" in text
    assert "driver:" not in text
    alone = conf_file(eni(0), 512, 9999, {"ena"}, only=[eni(0)]).content
    assert "route-table" not in alone
    assert "match-device=mac:06:ec:02:00:00:00\nipv4.route-metric=512\n" in alone


def test_a_link_without_a_permanent_mac_is_matched_by_name() -> None:
    """NetworkManager compares the permanent one; a veth has none."""
    text = conf_file(eni(0, permanent=False), 512, 9999, {"veth"}).content
    assert "match-device=interface-name:=ens5\n" in text
    assert "match-device=driver:veth,except:interface-name:=ens5\n" in text


def test_a_foreign_file_has_no_owner() -> None:
    for text in ("", "[connection]\n", f"{HEADER} the primary ENI\n", f"{HEADER} nobody\n"):
        assert ConfFile(conf.PATH, text).owner is None


def test_ec2net_recognizes_its_own_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it did not help, a second one would only take the link down again."""
    run, mac = RunDir(tmp_path), Mac("06:ec:02:00:00:01")
    assert not attempts.was_made(run, mac, DEVICE)
    attempts.note(run, mac, "/a")
    assert attempts.was_made(run, mac, DEVICE)
    assert not attempts.was_made(run, mac, replace(DEVICE, active="/b"))
    assert not attempts.was_made(run, mac, replace(DEVICE, active=""))
    with monkeypatch.context() as patched:  # other defaults: it may help now
        patched.setattr(conf, "in_place", lambda: ConfFile(conf.PATH, "other"))
        assert not attempts.was_made(run, mac, DEVICE)
    per_eni.keep_only(run, [])
    assert not attempts.was_made(run, mac, DEVICE)
