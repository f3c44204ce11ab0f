# SPDX-License-Identifier: Apache-2.0
"""Which network manager has a link: by the state files of both, by systemd's units and by udev."""

from collections.abc import Mapping
from enum import Enum

from ec2net.core.host.files import Environment
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac


class Manager(Enum):
    """The network manager of a link."""

    NETWORKD = "systemd-networkd"
    NETWORKMANAGER = "NetworkManager"
    SEVERAL = "both systemd-networkd and NetworkManager"
    LEFT_ALONE = "no network manager (a user's setting)"
    """A user took it from NetworkManager at run time."""
    NETWORKD_NOT_UP = "possibly systemd-networkd (not running now)"
    """systemd-networkd reports no link while it is stopped or starts."""
    NETWORKMANAGER_NOT_UP = "possibly NetworkManager (not running now)"
    """NetworkManager reports no new link while it is stopped."""
    NOBODY = "no network manager"


NETWORKD_UNIT = "systemd-networkd.service"
"""The unit of systemd-networkd."""
NETWORKMANAGER_UNIT = "NetworkManager.service"
"""The unit of NetworkManager."""

NETWORKD_LINKS = "/run/systemd/netif/links"
"""The folder of systemd-networkd's state files, one for each link index (sd-network(3))."""
NETWORKD_FILES = "/run/systemd/network"
"""Where ec2net writes files for systemd-networkd: 70-LINK.network, or a drop-in 50-ec2net.conf."""
NETWORKMANAGER_LINKS = "/run/NetworkManager/devices"
"""NetworkManager keeps a state file there for each link that it manages, or that a user set
unmanaged."""
_UNITS = "/etc/systemd/system"
UNIT_FOLDERS = (
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    _UNITS,
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
)
"""The folders of units (systemd.unit(5)); their order does not matter here."""


def is_wanted(unit: str, by: str, environment: Environment) -> bool:
    """Whether what ``by`` names is to start it, and it can be: a removed package leaves its link, and
    so does a mask (systemd.unit(5): a link to /dev/null).

    systemd goes by the link's name (systemd.unit(5), "Wants="), so where it leads to does not count.
    """
    if environment.read_link(f"{_UNITS}/{by}/{unit}") is None:
        return False
    kind, at, instance = unit.partition("@")
    template = f"{kind}@.{instance.rpartition('.')[2]}" if at else unit
    for name in (unit, template):  # the file of an instance precedes the template's
        if environment.is_masked(f"{_UNITS}/{name}"):
            return False
        if any(environment.read_file(f"{folder}/{name}") is not None for folder in UNIT_FOLDERS):
            return True
    return False


def is_enabled(unit: str, environment: Environment) -> bool:
    """Whether a boot starts it."""
    return is_wanted(unit, "multi-user.target.wants", environment)


def is_at_work(unit: str, environment: Environment) -> bool:
    """Whether the network manager runs, or will run again.

    A stopped one that is no longer enabled has handed over; one that restarts has not.
    NetworkManager keeps its state files when it stops, systemd-networkd removes those of links.
    """
    return environment.unit_is_active(unit) or is_enabled(unit, environment)


def will_return(unit: str, environment: Environment) -> bool:
    """Whether a network manager is down, and systemd will start it again."""
    return not environment.unit_is_active(unit) and is_enabled(unit, environment)


def may_return(unit: str, environment: Environment) -> bool:
    """Whether it is down, but not disabled: a mask and a removed package leave its link.

    Debian masks the units of a package that is removed (deb-systemd-helper(1p)).
    """
    if environment.unit_is_active(unit):
        return False
    return environment.read_link(f"{_UNITS}/multi-user.target.wants/{unit}") is not None


def link_manager(link: Link, environment: Environment) -> Manager:
    """The network manager of ``link``, by the state files that both keep for each link index.

    systemd-networkd: ``ADMIN_STATE`` in /run/systemd/netif/links (sd-network(3));
    NetworkManager: ``managed`` in /run/NetworkManager/devices (its per-device state), false only
    if a user said so, absent for what its configuration leaves out.
    """
    untold = Manager.NOBODY  # before their files are read
    if _networkd_is_not_up(environment):
        untold = Manager.NETWORKD_NOT_UP
    elif _networkmanager_is_not_up(environment):
        untold = Manager.NETWORKMANAGER_NOT_UP
    networkd = environment.keys(f"{NETWORKD_LINKS}/{link.index}").get("ADMIN_STATE")
    manager = environment.keys(f"{NETWORKMANAGER_LINKS}/{link.index}").get("managed")
    by_networkd = networkd not in (None, "unmanaged") and is_at_work(NETWORKD_UNIT, environment)
    if manager is not None and not is_at_work(NETWORKMANAGER_UNIT, environment):
        manager = None
    by_networkmanager = manager in ("true", "yes")
    if by_networkd and by_networkmanager:
        return Manager.SEVERAL
    if by_networkd:
        return Manager.NETWORKD
    if by_networkmanager:
        return Manager.NETWORKMANAGER
    if manager in ("false", "no"):
        return Manager.LEFT_ALONE
    return untold


def _networkd_is_not_up(environment: Environment) -> bool:
    """Whether systemd-networkd has links, but lists none, not even lo: it is stopped or starts.

    Its folder is there wherever it is installed (tmpfiles.d/systemd-network.conf). A mask says
    nothing of the links that it had: they are those that ec2net gave it files for in this boot.
    """
    if "links" not in environment.list_folder(NETWORKD_LINKS.rpartition("/")[0]):
        return False
    if any(map(str.isdigit, environment.list_folder(NETWORKD_LINKS))):
        return False
    if is_at_work(NETWORKD_UNIT, environment):
        return True
    return may_return(NETWORKD_UNIT, environment) and _networkd_has_our_files(environment)


def _networkd_has_our_files(environment: Environment) -> bool:
    names = environment.list_folder(NETWORKD_FILES)
    return any(
        (name.startswith("70-") and name.endswith(".network"))
        or (
            name.endswith(".network.d")
            and "50-ec2net.conf" in environment.list_folder(f"{NETWORKD_FILES}/{name}")
        )
        for name in names
    )


def _networkmanager_is_not_up(environment: Environment) -> bool:
    """Whether it ran in this boot, is stopped, and systemd is to start it again.

    It keeps the state files of its links meanwhile, and a link that comes then has none.
    """
    return will_return(NETWORKMANAGER_UNIT, environment) and any(
        map(str.isdigit, environment.list_folder(NETWORKMANAGER_LINKS))
    )


NETWORKD_OWNER = "io.systemd.Network"
"""The value of udev's ID_NET_MANAGED_BY for systemd-networkd."""
NETWORKMANAGER_OWNER = "org.freedesktop.NetworkManager"
"""The value of udev's ID_NET_MANAGED_BY for NetworkManager."""

_OUR_OWNER = "ec2net"
_OWNER_MAX = 64


def owner(link: Link, environment: Environment) -> str:
    """The manager of ``link`` by udev's property ID_NET_MANAGED_BY; empty without the property.

    With another value than their own, systemd-networkd (256, link_is_managed_by_us) and
    NetworkManager leave a link alone. udev keeps it as a line ``E:KEY=value`` in
    /run/udev/data/nINDEX (device_update_db in sd-device).
    """
    data = environment.keys(f"/run/udev/data/n{link.index}")
    told = data.get("E:ID_NET_MANAGED_BY", "")[:_OWNER_MAX]
    return "".join(char for char in told if char.isprintable())


def elsewhere(links: Mapping[Mac, tuple[Link, ...]], environment: Environment) -> dict[Mac, str]:
    """ENIs whose owner is none that a backend works with, and who that is."""
    known = ("", NETWORKD_OWNER, NETWORKMANAGER_OWNER, _OUR_OWNER)
    owners = {mac: owner(same[0], environment) for mac, same in links.items()}
    return {mac: name for mac, name in owners.items() if name not in known}
