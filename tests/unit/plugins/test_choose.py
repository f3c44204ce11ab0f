# SPDX-License-Identifier: Apache-2.0
"""The backend of a link, and the reasons in the message."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest
from eni_facts import eni, host, ipv4, link, mac

from ec2net.backends.netlink.backend import NetlinkBackend
from ec2net.backends.networkd.backend import NetworkdBackend
from ec2net.backends.networkmanager.backend import NetworkManagerBackend
from ec2net.core.config.settings import (
    Config,
    DnsDefaultRoute,
    EniSection,
    EniSettings,
    Match,
    Role,
)
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import EniIntent, HostIntent, Standing
from ec2net.core.engine.backend_plans import chosen
from ec2net.core.engine.engine import Engine
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import Manager, elsewhere, link_manager
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.plan import Applied, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import Backend, Goal, Observed, Suitability
from ec2net.core.plugins.choose import choose, unsupported
from ec2net.core.plugins.loaded import Plugins
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.run_dir import RunDir

LINK = link(1)
NETWORKD, NETWORKMANAGER = "/run/systemd/netif/links/3", "/run/NetworkManager/devices/3"
UDEV, MANAGED_BY = "/run/udev/data/n3", "E:ID_NET_DRIVER=ena\nE:ID_NET_MANAGED_BY="


class OfNetworkd(Backend):
    """One that wants the links that networkd manages."""

    name: ClassVar[str] = "of-networkd"

    @classmethod
    def suits(cls, link: Link, environment: Environment) -> Suitability:
        manager = link_manager(link, environment)
        return Suitability(manager is Manager.NETWORKD, f"{manager.value} manages {link.name}")

    def observe(self, snapshot: Snapshot, links: Collection[Link], deadline: Deadline) -> Observed:
        raise NotImplementedError

    def wanted(self, intent: EniIntent, host: HostIntent, seen: Observed) -> tuple[Item, ...]:
        raise NotImplementedError

    def apply(
        self, plan: Plan, goals: Mapping[Mac, Goal], seen: Observed, deadline: Deadline
    ) -> Applied:
        raise NotImplementedError


RUNNING = {
    f"/run/systemd/units/invocation:{unit}": "1"
    for unit in ("systemd-networkd.service", "NetworkManager.service")
}
SHIPPED = [
    f"/usr/lib/systemd/system/{unit}"
    for unit in ("systemd-networkd.service", "NetworkManager.service")
]
ENABLED = {"/etc/systemd/system/multi-user.target.wants/NetworkManager.service": "/lib/..."}
MASKED = {**ENABLED, "/etc/systemd/system/NetworkManager.service": "/dev/null"}


def environment(
    files: Mapping[str, str], links: Mapping[str, str] = RUNNING, enis: tuple[Link, ...] = ()
) -> Environment:
    """Both network managers run, unless ``links`` differs."""

    def list_folder(path: str) -> tuple[str, ...]:
        below = [name.removeprefix(f"{path}/") for name in files if name.startswith(f"{path}/")]
        return tuple({name.split("/")[0] for name in below if name})

    shipped = dict.fromkeys(SHIPPED, "[Unit]\n")
    return Environment(
        lambda path: files.get(path, shipped.get(path)), links.get, list_folder, enis
    )


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        ({}, Manager.NOBODY),
        ({NETWORKD: "ADMIN_STATE=configured\nOPER_STATE=routable\n"}, Manager.NETWORKD),
        ({NETWORKD: "ADMIN_STATE=configuring\n"}, Manager.NETWORKD),
        ({NETWORKD: "ADMIN_STATE=unmanaged\n"}, Manager.NOBODY),
        ({NETWORKD: ""}, Manager.NOBODY),
        ({"/run/systemd/netif/links/4": "ADMIN_STATE=configured\n"}, Manager.NOBODY),
        ({NETWORKMANAGER: "[device]\nmanaged=true\n"}, Manager.NETWORKMANAGER),
        ({NETWORKMANAGER: "[device]\nmanaged=false\n"}, Manager.LEFT_ALONE),
        ({NETWORKMANAGER: "[device]\nperm-hw-addr-fake=06:00:00:00:00:01\n"}, Manager.NOBODY),
        (
            {NETWORKD: "ADMIN_STATE=unmanaged\n", NETWORKMANAGER: "[device]\nmanaged=true\n"},
            Manager.NETWORKMANAGER,
        ),
        (
            {NETWORKD: "ADMIN_STATE=configured\n", NETWORKMANAGER: "[device]\nmanaged=true\n"},
            Manager.SEVERAL,
        ),
    ],
)
def test_facts_of_the_host_name_the_network_manager_of_a_link(
    files: Mapping[str, str], manager: Manager
) -> None:
    """R40."""
    assert link_manager(LINK, environment(files)) is manager


@pytest.mark.parametrize(
    ("links", "manager"),
    [
        pytest.param(RUNNING, Manager.NETWORKMANAGER, id="running"),
        pytest.param(ENABLED, Manager.NETWORKMANAGER, id="being restarted"),
        pytest.param(MASKED, Manager.NOBODY, id="masked"),
        pytest.param({}, Manager.NOBODY, id="stopped and disabled"),
    ],
)
def test_a_manager_that_was_stopped_for_good_manages_nothing(
    links: Mapping[str, str], manager: Manager
) -> None:
    """Its state files stay. One that is only being restarted must not lose its links to another."""
    assert link_manager(LINK, environment({NETWORKMANAGER: "managed=true"}, links)) is manager


ENABLED_NETWORKD = {
    "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/lib/..."
}
MASKED_NETWORKD = {**ENABLED_NETWORKD, "/etc/systemd/system/systemd-networkd.service": "/dev/null"}
NOT_UP = {"/run/systemd/netif/links/": ""}
"""The folder exists."""


@pytest.mark.parametrize(
    ("files", "links", "manager"),
    [
        pytest.param(NOT_UP, RUNNING, Manager.NETWORKD_NOT_UP, id="starting"),
        pytest.param(NOT_UP, ENABLED_NETWORKD, Manager.NETWORKD_NOT_UP, id="stopped for now"),
        pytest.param(NOT_UP, {}, Manager.NOBODY, id="stopped and disabled"),
        pytest.param({}, RUNNING, Manager.NOBODY, id="never there: another /run"),
        pytest.param(
            {**NOT_UP, "/run/systemd/netif/links/1": "ADMIN_STATE=unmanaged\n"},
            RUNNING,
            Manager.NOBODY,
            id="up, and the link is new",
        ),
        pytest.param(
            {**NOT_UP, NETWORKMANAGER: "managed=true"},
            RUNNING,
            Manager.NETWORKMANAGER,
            id="starting, and the link is NetworkManager's",
        ),
    ],
)
def test_a_networkd_that_is_starting_manages_no_link_yet(
    files: Mapping[str, str], links: Mapping[str, str], manager: Manager
) -> None:
    """Its links were given to the netlink backend for good by a pass during a restart."""
    assert link_manager(LINK, environment(files, links)) is manager


NEW_BESIDE = {"/run/NetworkManager/devices/4": "managed=true"}


@pytest.mark.parametrize(
    ("files", "links", "manager"),
    [
        pytest.param(NEW_BESIDE, ENABLED, Manager.NETWORKMANAGER_NOT_UP, id="stopped for now"),
        pytest.param(NEW_BESIDE, RUNNING, Manager.NOBODY, id="running"),
        pytest.param(NEW_BESIDE, {}, Manager.NOBODY, id="stopped and disabled"),
        pytest.param(NEW_BESIDE, MASKED, Manager.NOBODY, id="masked"),
        pytest.param({}, ENABLED, Manager.NOBODY, id="never ran in this boot"),
    ],
)
def test_a_new_link_waits_for_a_stopped_networkmanager(
    files: Mapping[str, str], links: Mapping[str, str], manager: Manager
) -> None:
    """The netlink backend took it, and NetworkManager called it external at its return."""
    assert link_manager(LINK, environment(files, links)) is manager


BOTH: dict[str, type[Backend]] = {"of-networkd": OfNetworkd, "netlink": NetlinkBackend}


@pytest.mark.parametrize(
    ("configured", "backends", "files", "answer"),
    [
        pytest.param(
            "auto",
            BOTH,
            {},
            "netlink: of-networkd does not suit: no network manager manages ens6;"
            " netlink suits: no network manager manages ens6",
            id="auto, no network manager manages the link",
        ),
        pytest.param(
            "auto",
            BOTH,
            {NETWORKD: "ADMIN_STATE=configured"},
            "of-networkd: of-networkd suits: systemd-networkd manages ens6;"
            " netlink does not suit: systemd-networkd manages ens6",
            id="auto, networkd manages it",
        ),
        pytest.param(
            "auto",
            {"netlink": NetlinkBackend},
            {NETWORKMANAGER: "managed=true"},
            "none: netlink does not suit: NetworkManager manages ens6",
            id="auto, no backend for its manager",
        ),
        pytest.param(
            "auto",
            {"one": NetlinkBackend, "two": NetlinkBackend},
            {},
            "one: one suits: no network manager manages ens6;"
            " two suits: no network manager manages ens6",
            id="auto, the first that suits",
        ),
        pytest.param("auto", {}, {}, "none: no backend is loaded", id="auto, no backend at all"),
        pytest.param(
            "netlink",
            BOTH,
            {NETWORKD: "ADMIN_STATE=configured"},
            'netlink: the configuration sets backend = "netlink"',
            id="the configuration names it, with any network manager",
        ),
        pytest.param(
            "gone",
            BOTH,
            {},
            'none: backend "gone" is configured but not available',
            id="the configuration names what is not there",
        ),
    ],
)
def test_each_choice_has_its_reasons(
    configured: str, backends: Mapping[str, type[Backend]], files: Mapping[str, str], answer: str
) -> None:
    assert str(choose(configured, LINK, backends, environment(files))) == answer


BUILT_IN: dict[str, type[Backend]] = {
    "networkd": NetworkdBackend,
    "networkmanager": NetworkManagerBackend,
    "netlink": NetlinkBackend,
}
OTHER = link(2)
"""Another ENI, of index 4."""
OTHERS = {"networkd": "/run/systemd/netif/links/4", "nm": "/run/NetworkManager/devices/4"}
CONFIGURED, MANAGED = "ADMIN_STATE=configured", "managed=true"


@pytest.mark.parametrize(
    ("files", "links", "answer", "reason"),
    [
        pytest.param(
            {NETWORKMANAGER: MANAGED},
            RUNNING,
            "networkmanager",
            "NetworkManager manages ens6",
            id="NetworkManager has it",
        ),
        pytest.param(
            {NETWORKD: CONFIGURED},
            RUNNING,
            "networkd",
            "systemd-networkd manages ens6",
            id="networkd has it",
        ),
        pytest.param(
            {NETWORKD: CONFIGURED, NETWORKMANAGER: MANAGED},
            RUNNING,
            None,
            "both systemd-networkd and NetworkManager manages ens6",
            id="both have it: refused",
        ),
        pytest.param(
            {OTHERS["nm"]: MANAGED},
            RUNNING,
            "networkmanager",
            "no network manager manages ens6, and NetworkManager manages ens7",
            id="just attached, another ENI is NetworkManager's",
        ),
        pytest.param(
            {OTHERS["networkd"]: CONFIGURED},
            RUNNING,
            "networkd",
            "no network manager manages ens6, and systemd-networkd manages ens7",
            id="just attached, another ENI is networkd's",
        ),
        pytest.param({}, RUNNING, "netlink", "no network manager manages ens6", id="unmanaged"),
        pytest.param({}, {}, "netlink", "no network manager manages ens6", id="no manager runs"),
        pytest.param(
            {"/etc/os-release": 'ID="amzn"\n'},
            RUNNING,
            "networkd",
            "this is Amazon Linux",
            id="Amazon Linux, unmanaged",
        ),
        pytest.param(
            {"/etc/os-release": 'ID="amzn"\n', NETWORKMANAGER: MANAGED},
            RUNNING,
            "networkmanager",
            "NetworkManager manages ens6",
            id="Amazon Linux, but NetworkManager has it",
        ),
        pytest.param(
            {"/etc/os-release": 'ID="amzn"\n'},
            {},
            "netlink",
            "systemd-networkd is not running",
            id="Amazon Linux without networkd",
        ),
        pytest.param(
            {NETWORKMANAGER: "managed=false"},
            RUNNING,
            "networkmanager",
            "makes ens6 unmanaged",
            id="a user took it from NetworkManager: no other backend takes it",
        ),
        pytest.param(
            {NETWORKMANAGER: MANAGED},
            ENABLED,
            "networkmanager",
            "NetworkManager is not running now, but keeps ens6",
            id="NetworkManager is being restarted: it keeps its links",
        ),
        pytest.param(
            {OTHERS["nm"]: MANAGED},
            ENABLED,
            "networkmanager",
            "NetworkManager is not running now, but keeps ens6",
            id="a link that came while NetworkManager is down",
        ),
        pytest.param(
            {NETWORKMANAGER: MANAGED},
            MASKED,
            "netlink",
            "NetworkManager is not running",
            id="NetworkManager is masked: live changes are all that there is",
        ),
        pytest.param(
            NOT_UP,
            ENABLED_NETWORKD,
            "networkd",
            "systemd-networkd is not running now, but keeps ens6",
            id="networkd is being restarted: it keeps its links",
        ),
        pytest.param(
            {**NOT_UP, UDEV: f"{MANAGED_BY}ec2net\n"},
            ENABLED_NETWORKD,
            None,
            "udev says that ec2net manages ens6",
            id="networkd is being restarted, and the link is another's by udev",
        ),
        pytest.param(
            NOT_UP,
            {**ENABLED_NETWORKD, "/run/systemd/units/invocation:NetworkManager.service": "1"},
            None,
            "possibly systemd-networkd (not running now) manages ens6",
            id="networkd is down, and NetworkManager runs",
        ),
        pytest.param(
            {**NOT_UP, "/run/systemd/network/70-ens6.network": "x"},
            MASKED_NETWORKD,
            "networkd",
            "systemd-networkd is not running now, but keeps ens6",
            id="networkd is masked, and has our files of this boot",
        ),
        pytest.param(
            {**NOT_UP, "/run/systemd/network/10-netplan-ens6.network.d/50-ec2net.conf": "x"},
            MASKED_NETWORKD,
            "networkd",
            "systemd-networkd is not running now, but keeps ens6",
            id="networkd is masked, and has our drop-in of this boot",
        ),
        pytest.param(
            {**NOT_UP, "/run/systemd/network/10-netplan-ens6.network": "x"},
            MASKED_NETWORKD,
            "netlink",
            "systemd-networkd is not running",
            id="networkd was masked before ec2net gave it any file",
        ),
        pytest.param(
            {"/etc/os-release": 'ID="amzn"\n', UDEV: f"{MANAGED_BY}io.systemd.Network\n"},
            RUNNING,
            "networkd",
            "this is Amazon Linux",
            id="networkd's by udev",
        ),
        pytest.param(
            {"/etc/os-release": 'ID="amzn"\n', UDEV: f"{MANAGED_BY}ec2net\n"},
            RUNNING,
            "netlink",
            "networkd does not suit: udev says that ec2net manages ens6",
            id="ours alone by udev",
        ),
        pytest.param(
            {OTHERS["nm"]: MANAGED, UDEV: f"{MANAGED_BY}ec2net\n"},
            RUNNING,
            "netlink",
            "networkmanager does not suit: udev says that ec2net manages ens6",
            id="ec2net's alone by udev, another ENI is NetworkManager's",
        ),
        pytest.param(
            {OTHERS["nm"]: MANAGED, UDEV: f"{MANAGED_BY}org.freedesktop.NetworkManager\n"},
            RUNNING,
            "networkmanager",
            "no network manager manages ens6, and NetworkManager manages ens7",
            id="NetworkManager's by udev",
        ),
        pytest.param(
            {NETWORKD: CONFIGURED, UDEV: f"{MANAGED_BY}ec2net\n"},
            RUNNING,
            "networkd",
            "systemd-networkd manages ens6",
            id="ours alone by udev, but networkd (before 256) has it",
        ),
    ],
)
def test_the_built_in_backends_have_an_order(
    files: Mapping[str, str], links: Mapping[str, str], answer: str | None, reason: str
) -> None:
    """By calling the backends in order; the first that suits gets the link, with the reasons."""
    choice = choose("auto", LINK, BUILT_IN, environment(files, links, (LINK, OTHER)))
    assert choice.backend == answer
    assert reason in str(choice)


@pytest.mark.parametrize(
    ("data", "owner"),
    [
        (None, None),
        ("", None),
        ("I:123\nE:ID_NET_DRIVER=ena\nV:1\n", None),
        (f"{MANAGED_BY}io.systemd.Network\n", None),
        (f"{MANAGED_BY}org.freedesktop.NetworkManager\n", None),
        (f"{MANAGED_BY}ec2net\n", None),
        (f"{MANAGED_BY}\n", None),
        (f"{MANAGED_BY}com.amazonaws.vpc.cni\nV:1\n", "com.amazonaws.vpc.cni"),
        (f"{MANAGED_BY}unmanaged\n", "unmanaged"),
        (f"{MANAGED_BY}a\x1b[1mb\n", "a[1mb"),
        (f"{MANAGED_BY}{'x' * 1000}\n", "x" * 64),
        ("S:ID_NET_MANAGED_BY=cni\nG:ID_NET_MANAGED_BY=cni\n", None),
    ],
)
def test_udev_marks_unmanaged_links(data: str | None, owner: str | None) -> None:
    files = {} if data is None else {UDEV: data}
    links = {mac(1): (LINK,), mac(2): (OTHER,)}
    assert elsewhere(links, environment(files)) == ({} if owner is None else {mac(1): owner})


def test_an_unreadable_file_gives_no_answer() -> None:
    assert Environment().read_file("/nonexistent/os-release") is None
    assert Environment().keys("/nonexistent/os-release") == {}


def test_keys_of_a_state_file_are_read() -> None:
    text = '# comment\nID="amzn"\nVERSION_ID=2023\n\nbroken\nA=b=c\n'
    assert environment({"f": text}).keys("f") == {"ID": "amzn", "VERSION_ID": "2023", "A": "b=c"}


@pytest.mark.parametrize(
    ("backend", "dns", "lacks"),
    [
        (NetworkdBackend, DnsDefaultRoute.YES, False),
        (NetworkManagerBackend, DnsDefaultRoute.AUTO, False),
        (NetworkManagerBackend, DnsDefaultRoute.NO, True),
        (NetlinkBackend, DnsDefaultRoute.AUTO, False),
        (NetlinkBackend, DnsDefaultRoute.YES, True),
    ],
)
def test_a_missing_feature_of_a_backend_is_a_problem_that_names_it(
    backend: type[Backend], dns: DnsDefaultRoute, lacks: bool
) -> None:
    config = Config(eni=EniSettings(dns_default_route=dns))
    intents = compute(host(eni(0), eni(1)), config).ready[1:]
    texts = [str(problem) for problem in unsupported(backend, intents)]
    assert len(texts) == lacks
    assert all(t.startswith(f"ens6: backend {backend.name}: dns_default_route: ") for t in texts)


@pytest.mark.parametrize("match", [Match(role=Role.SECONDARY), Match(device=1)])
def test_a_refused_eni_keeps_the_backend_that_a_section_names(match: Match, tmp_path: Path) -> None:
    """By its device or its role: another backend would remove its files as leftovers."""
    pinned = EniSection(match, {"backend": "networkd"})
    config = Config(eni=EniSettings(backend="netlink"), sections=(pinned,))
    outside = eni(1, local_ipv4s=ipv4("192.0.2.4"))
    links = {mac(n): (link(n),) for n in range(2)}
    engine = Engine(config, RunDir(tmp_path), cast(Kernel, None), None, Plugins())
    for second, standing in ((eni(1), Standing.READY), (outside, Standing.REFUSED)):
        facts = host(eni(0), second)
        intents = compute(facts, config)
        assert [outcome.standing for outcome in intents.enis] == [Standing.READY, standing]
        choices = chosen(intents, links, engine.backends, environment({}))
        assert [choice.backend for choice in choices.values()] == ["netlink", "networkd"]
