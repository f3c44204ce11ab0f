# SPDX-License-Identifier: Apache-2.0
"""The steps that hand a host over, and give it back, from the host's state. Pure."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
from eni_facts import link
from handover_host import (
    ACTIVE,
    ALIAS,
    BY_NETWORKMANAGER,
    DHCLIENT,
    INSTALLED,
    NETWORKD,
    RESOLVED,
    SHIPPED,
    UNITS,
    WANTS,
    host,
)
from other_tools_host import host as environment

from ec2net.backends.networkd.fallback import PATH as FALLBACK
from ec2net.core.migration import remarks, units
from ec2net.core.migration.clients import Client, Clients
from ec2net.core.migration.host import Host
from ec2net.core.migration.plan import Works, back, before, forward, refuse, refuse_back
from ec2net.core.migration.resolv_conf import Kept, Kind, ResolvConf
from ec2net.core.migration.steps import Step, Work
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline

CHECK = (
    "check that ens5 has its lease, and that everything is still reachable; if not, restore "
    "the former state"
)
RESOLVE = (
    "link /etc/resolv.conf to ../run/systemd/resolve/stub-resolv.conf, and keep its present "
    "content as /etc/resolv.conf.before-ec2net"
)


def nothing(_: Deadline) -> None:
    """Steps of the program itself do nothing here."""


WORKS = Works(nothing, nothing, nothing, nothing, nothing, nothing, nothing)
STANZA = {"/etc/network/interfaces": "auto ens5\niface ens5 inet dhcp\n"}
MASKED = {f"{UNITS}/{NETWORKD}": "/dev/null", f"{UNITS}/systemd-networkd.socket": "/dev/null"}
ENABLED = {f"{WANTS}/{NETWORKD}": "x", f"{UNITS}/sysinit.target.wants/{RESOLVED}": "x"}


def told(steps: tuple[Step, ...]) -> list[str]:
    return [step.describe() for step in steps]


def adopted(active: tuple[str, ...] = (NETWORKD, RESOLVED)) -> Host:
    """A host that systemd-networkd has."""
    state = {f"/run/systemd/netif/links/{link(0).index}": "ADMIN_STATE=configured\n"}
    links = {**ENABLED, f"{ACTIVE}{NETWORKD}": "1", f"{ACTIVE}{RESOLVED}": "1"}
    return host(links, state, active=active, resolv_conf=ResolvConf(Kind.RESOLVEDS))


def test_the_new_manager_is_enabled_before_the_old_one_is_disabled() -> None:
    """A boot between the steps finds a manager; the name server changes last."""
    steps = told(
        forward(host({**BY_NETWORKMANAGER, **MASKED}, active=(units.NETWORKMANAGER,)), WORKS)
    )
    assert steps == [
        "record the present state of the host in /var/lib/ec2net/adopted.json",
        f"write {FALLBACK}",
        f"run systemctl unmask {NETWORKD} systemd-networkd.socket",
        f"run systemctl enable {NETWORKD} {RESOLVED}",
        f"run systemctl start {RESOLVED}",
        f"delete {ALIAS}",
        f"delete {WANTS}/NetworkManager.service",
        "run systemctl daemon-reload",
        "run systemctl stop NetworkManager.service",
        "write the files of the ENIs for systemd-networkd",
        f"run systemctl start {NETWORKD}",
        CHECK,
        RESOLVE,
    ]


def test_ifupdown_is_never_stopped() -> None:
    """ifdown takes the addresses away, and so does a client that ends in good order."""
    links = {f"{WANTS}/networking.service": "x", f"{ACTIVE}networking.service": "1"}
    of_enis = Clients((DHCLIENT,))
    steps = told(
        forward(host(links, STANZA, active=("ifup@ens5.service",), clients=of_enis), WORKS)
    )
    assert f"delete {WANTS}/networking.service" in steps
    assert "run systemctl mask ifup@.service" in steps
    assert not [step for step in steps if "stop" in step or "disable" in step]
    client = "the DHCP client of ens5 (dhclient, PID 83)"
    kept = [step for step in steps if client in step or "check" in step or "start" in step]
    assert [step.split()[0] for step in kept[1:]] == ["suspend", "run", "check", "kill"]


def test_ifupdown_without_an_eni_stays_unchanged() -> None:
    files = {"/etc/network/interfaces": "iface lo inet loopback\niface ens5 inet manual\n"}
    links = {**BY_NETWORKMANAGER, f"{WANTS}/networking.service": "x"}
    steps = told(forward(host(links, files, active=(units.NETWORKMANAGER,)), WORKS))
    assert not [step for step in steps if "networking" in step or "ifup" in step]


def test_a_host_of_systemd_networkd_needs_no_step() -> None:
    assert forward(adopted(), WORKS) == ()


def test_a_dispatcher_that_outlives_its_manager_needs_no_step() -> None:
    was = adopted((NETWORKD, RESOLVED, "NetworkManager-dispatcher.service"))
    assert forward(was, WORKS) == ()


def test_a_masked_networkmanager_stays_masked() -> None:
    """Masked already, with the link by which it was wanted before."""
    was = adopted()
    masked = {f"{UNITS}/NetworkManager.service": "/dev/null", **BY_NETWORKMANAGER, **ENABLED}
    del masked[f"{ACTIVE}NetworkManager.service"], masked[ALIAS]
    files = {f"/run/systemd/netif/links/{link(0).index}": "ADMIN_STATE=configured\n"}
    masked[f"{ACTIVE}{NETWORKD}"] = "1"
    seen = environment({**INSTALLED, **files}, masked)
    assert forward(replace(was, environment=seen), WORKS) == ()


def test_with_both_managers_running_the_new_one_reads_its_files_again() -> None:
    links = {**BY_NETWORKMANAGER, **ENABLED, f"{ACTIVE}{NETWORKD}": "1"}
    steps = told(forward(host(links, active=(units.NETWORKMANAGER, NETWORKD, RESOLVED)), WORKS))
    assert "run systemctl stop NetworkManager.service" in steps
    assert "run networkctl reload" in steps
    assert not [step for step in steps if "start" in step]


def test_units_that_restart_networkmanager_are_disabled_before_it() -> None:
    links = {**BY_NETWORKMANAGER, f"{UNITS}/timers.target.wants/nm-cloud-setup.timer": "x"}
    active = ("NetworkManager.service", "nm-cloud-setup.timer")
    steps = told(forward(host(links, active=active), WORKS))
    assert f"delete {UNITS}/timers.target.wants/nm-cloud-setup.timer" in steps
    assert "run systemctl stop nm-cloud-setup.timer NetworkManager.service" in steps


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"environment": environment({f"{SHIPPED}/{NETWORKD}": "x"})},
            "systemd-resolved.service is",
        ),
        (
            {"environment": environment({f"{SHIPPED}/{RESOLVED}": "x"})},
            "systemd-networkd.service is",
        ),
        ({"resolv_conf": ResolvConf(Kind.OTHER, "it is immutable")}, "it is immutable"),
        ({"clients": Clients(another=True)}, "dhcpcd is running"),
    ],
)
def test_a_handover_that_cannot_be_made_or_reverted_is_refused(
    change: Mapping[str, object], why: str
) -> None:
    good = host(BY_NETWORKMANAGER)
    refuse(good)
    with pytest.raises(Ec2netError, match=why) as refused:
        refuse(replace(good, **change))  # type: ignore[arg-type]
    assert refused.value.remedy


BY_IFUPDOWN = {f"{WANTS}/networking.service": "x"}
IFUPDOWN = {f"{SHIPPED}/networking.service": "[Unit]", "/sbin/dhclient": "ELF"}


@pytest.mark.parametrize(
    ("links", "clients", "gone", "why"),
    [
        (BY_NETWORKMANAGER, (), f"{SHIPPED}/NetworkManager.service", "NetworkManager.service"),
        (BY_IFUPDOWN, (), f"{SHIPPED}/networking.service", "networking.service"),
        (
            BY_IFUPDOWN,
            (replace(DHCLIENT, words=("/sbin/dhclient", "ens5")),),
            "/sbin/dhclient",
            "/sbin/dhclient",
        ),
    ],
)
def test_a_host_is_not_given_back_to_a_missing_manager(
    links: Mapping[str, str], clients: tuple[Client, ...], gone: str, why: str
) -> None:
    """NetworkManager's package was removed since then: systemd-networkd would be stopped, and no
    manager started."""
    was = before(host(links, IFUPDOWN, clients=Clients(clients)), "now")
    shipped = {**INSTALLED, **IFUPDOWN, f"{SHIPPED}/NetworkManager.service": "x"}
    seen = environment(shipped, ENABLED, shipped=())
    now = replace(adopted(), resolv_conf=ResolvConf(Kind.RESOLVEDS, aside=Kept.ANOTHER))
    refuse_back(was, replace(now, environment=seen))
    del shipped[gone]
    without = replace(now, environment=environment(shipped, ENABLED, shipped=()))
    with pytest.raises(Ec2netError, match=f"{why} is no longer installed") as refused:
        refuse_back(was, without)
    assert refused.value.remedy
    # Where systemd-networkd was enabled before, it stays.
    kept = replace(was, links={**was.links, **ENABLED}, active=(NETWORKD,), clients=())
    refuse_back(kept, without)


@pytest.mark.parametrize(
    ("kind", "aside", "resolved", "refused"),
    [
        pytest.param(Kind.RESOLVEDS, Kept.NOTHING, False, True, id="a user deleted it"),
        pytest.param(Kind.RESOLVEDS, Kept.NOTHING, True, False, id="systemd-resolved stays"),
        pytest.param(Kind.RESOLVEDS, Kept.ANOTHER, False, False, id="it exists"),
        pytest.param(Kind.OTHER, Kept.NOTHING, False, False, id="given back already"),
    ],
)
def test_a_host_is_not_given_back_without_its_resolv_conf(
    kind: Kind, aside: Kept, resolved: bool, refused: bool
) -> None:
    """The link would lead to a systemd-resolved that was stopped."""
    active = (units.NETWORKMANAGER, *([RESOLVED] if resolved else []))
    was = before(host(BY_NETWORKMANAGER, active=active), "now")
    now = replace(adopted(), resolv_conf=ResolvConf(kind, aside=aside))
    with pytest.raises(Ec2netError, match="before-ec2net is missing") if refused else nullcontext():
        refuse_back(was, now)


def test_missing_units_are_not_started() -> None:
    """The step would fail each time, and no later step would run."""
    active = (units.NETWORKMANAGER, "nm-cloud-setup.timer")
    was = before(host(BY_NETWORKMANAGER, active=active), "now")
    shipped = {**INSTALLED, f"{SHIPPED}/NetworkManager.service": "x"}
    now = replace(adopted(), environment=environment(shipped, ENABLED, shipped=()))
    assert "run systemctl start NetworkManager.service" in told(back(was, now, WORKS))


def test_the_steps_of_giving_back_end_in_the_first_state() -> None:
    began = host(
        {**BY_NETWORKMANAGER, **MASKED}, active=(units.NETWORKMANAGER, "NetworkManager-x.service")
    )
    was = before(began, "now")
    file = "/run/systemd/network/70-ens5.network"
    done = replace(
        adopted((NETWORKD, "systemd-networkd.socket", RESOLVED)),
        own_files=(file, str(FALLBACK)),
        resolv_conf=ResolvConf(Kind.RESOLVEDS, aside=Kept.ANOTHER),
    )
    assert told(back(was, done, WORKS)) == [
        "move /etc/resolv.conf.before-ec2net back to /etc/resolv.conf",
        f"link {ALIAS} to {SHIPPED}/NetworkManager-dispatcher.service",
        f"link {WANTS}/NetworkManager.service to {SHIPPED}/NetworkManager.service",
        f"link {UNITS}/systemd-networkd.service to /dev/null",
        f"link {UNITS}/systemd-networkd.socket to /dev/null",
        f"delete {WANTS}/{NETWORKD}",
        f"delete {UNITS}/sysinit.target.wants/{RESOLVED}",
        f"delete {UNITS}/sysinit.target.wants",
        "run systemctl daemon-reload",
        f"run systemctl stop {NETWORKD} systemd-networkd.socket",
        "delete what it leaves in the kernel and nothing uses",
        f"delete {file}",
        f"delete {FALLBACK}",
        "write the files of the ENIs for NetworkManager",
        "run systemctl start NetworkManager.service",
        "have NetworkManager activate the ENIs that it does not manage yet",
        f"run systemctl stop {RESOLVED}",
        "check that everything is still reachable",
        "delete /var/lib/ec2net/adopted.json",
    ]


class Named:
    """A step of the program itself, identified by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, _: Deadline) -> None:
        """Does nothing here."""


def own_work(steps: tuple[Step, ...]) -> list[str]:
    """A plan's steps of the program itself, in order."""
    works = (step.work for step in steps if isinstance(step, Work))
    return [work.name for work in works if isinstance(work, Named)]


def test_each_direction_ends_with_its_check() -> None:
    """A host that was given back has no lease of systemd-networkd any more."""
    works = Works(**{field.name: Named(field.name) for field in fields(Works)})
    began = host({**BY_NETWORKMANAGER}, active=(units.NETWORKMANAGER,))
    assert own_work(forward(began, works)) == ["record", "prepare", "adopted"]
    steps = back(before(began, "now"), adopted(), works)
    assert own_work(steps) == ["clear", "prepare", "reconnect", "reachable", "forget"]


def test_before_the_first_change_only_the_record_is_deleted() -> None:
    began = adopted()
    assert told(back(before(began, "now"), began, WORKS)) == ["delete /var/lib/ec2net/adopted.json"]


def test_a_dhcp_client_is_resumed_or_started_again() -> None:
    links, both = (
        {f"{WANTS}/networking.service": "x"},
        (DHCLIENT, Client("ens5", ("dhclient", "-6"))),
    )
    was = before(host(links, STANZA, clients=Clients(both)), "now")
    suspended = Clients((replace(DHCLIENT, suspended=True),))
    steps = told(back(was, host(links, STANZA, clients=suspended), WORKS))
    assert steps[0] == "resume the DHCP client of ens5 (dhclient, PID 83)"
    assert steps[1].startswith("run systemd-run")
    assert steps[1].endswith("dhclient -6")


def test_ec2nets_earlier_files_stay() -> None:
    """Both managers ran, and systemd-networkd had the ENIs."""
    file = "/run/systemd/network/70-ens5.network"
    began = replace(adopted(), own_files=(file,))
    after = replace(began, own_files=(file, str(FALLBACK)))
    steps = told(back(before(began, "now"), after, WORKS))
    assert f"delete {FALLBACK}" in steps
    assert f"delete {file}" not in steps


def test_a_resolv_conf_changed_meanwhile_stays() -> None:
    began = host(BY_NETWORKMANAGER)
    after = replace(began, resolv_conf=ResolvConf(Kind.OTHER, aside=Kept.ANOTHER))
    assert not [step for step in told(back(before(began, "now"), after, WORKS)) if "resolv" in step]
    assert "was changed after the adoption and stays" in remarks.of_undoing(after)[0]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {
                "/etc/NetworkManager/system-connections/br0.nmconnection": (
                    "[connection]\ntype=bridge\ninterface-name=br0\n"
                )
            },
            "nothing brings br0 (bridge) up",
        ),
        (
            {"/etc/NetworkManager/system-connections/a": "type=ethernet\n[ipv4]\nmethod=manual\n"},
            "static addresses",
        ),
        ({"/etc/cloud/cloud.cfg": "users: []\n"}, "at the first boot"),
        ({"/etc/netplan/50.yaml": "network:\n  renderer: NetworkManager\n"}, "renderer: networkd"),
    ],
)
def test_settings_that_are_not_taken_over_are_reported(files: dict[str, str], told: str) -> None:
    seen = environment(files, BY_NETWORKMANAGER)
    assert told in remarks.remarks(seen)[0]
    assert told not in "".join(remarks.remarks(environment({}, BY_NETWORKMANAGER)))


def test_a_cloud_init_without_network_configuration_needs_no_remark() -> None:
    files = {
        "/etc/cloud/cloud.cfg": "users: []\n",
        "/etc/cloud/cloud.cfg.d/99.cfg": "network: {config: disabled}\n",
    }
    assert not any("cloud-init" in remark for remark in remarks.remarks(environment(files)))


def test_links_that_ifupdown_brings_up_are_reported() -> None:
    files = {"/etc/network/interfaces": "iface lo inet loopback\niface br0 inet static\n"}
    seen = environment(files, {f"{WANTS}/networking.service": "x"})
    assert any("nothing brings br0 up" in remark for remark in remarks.remarks(seen))
