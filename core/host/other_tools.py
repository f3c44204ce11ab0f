# SPDX-License-Identifier: Apache-2.0
"""Other tools that configure ENIs, by what they leave on the host. Pure over the environment.

Where the facts come from: amazon-ec2-net-utils 2.7.4 (udev rule, systemd/), nm-cloud-setup's units,
cloud-netconfig 1.20 (its Makefile and units), cloud-init (cc_install_hotplug, cloud-init-hotplugd.*),
netplan-generate(8), nodeadm of amazon-eks-ami (udev-net-manager), interfaces(5).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import (
    NETWORKMANAGER_UNIT,
    UNIT_FOLDERS,
    Manager,
    is_at_work,
    is_wanted,
    link_manager,
)

_ETC_UNITS = "/etc/systemd/system"
_ACTIVE = "/run/systemd/units"
_RUN_NETWORK = "/run/systemd/network"
_VENDOR_RULES = ("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_WANTED_BY = ("timers.target.wants", "NetworkManager.service.wants", "multi-user.target.wants")


class Tool(StrEnum):
    """Who else may configure ENIs; the value is what people call it."""

    NET_UTILS = Rival.NET_UTILS.value
    NM_CLOUD_SETUP = Rival.NM_CLOUD_SETUP.value
    CLOUD_NETCONFIG = Rival.CLOUD_NETCONFIG.value
    CLOUD_INIT = "cloud-init's network hotplug"
    NODEADM = "nodeadm (EKS)"
    NETPLAN = "netplan"
    IFUPDOWN = "ifupdown"


class Danger(Enum):
    """What it means to run beside this tool."""

    DOUBLE = "double"
    """It makes and removes the same addresses, rules or routes: one of the two has to end."""
    POSSIBLE = "possible"
    """It may, for some ENIs or at some events."""
    NONE = "none"
    """It brings up the base that is built upon, or writes once."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A tool that was found. ``trace`` is by what; ``remedy`` says what to do."""

    tool: Tool
    danger: Danger
    trace: str
    remedy: str
    rival: Rival | None = None
    """What the configuration calls it, if it is one of those."""
    links: frozenset[str] | None = None
    """ENI links that it configures; None: all."""


def recognise(environment: Environment) -> tuple[Recognised, ...]:
    """Every tool that is found, in the order of ``Tool``: at most one remark for each."""
    others = (_cloud_init, _nodeadm, _netplan, _ifupdown)
    found = (finder(environment) for finder in (*_RIVALS, *others))
    return tuple(one for one in found if one is not None)


def rivals(environment: Environment) -> tuple[Recognised, ...]:
    """Those that do the same work as we do. Asked in every pass, so nobody else is looked for."""
    found = (finder(environment) for finder in _RIVALS)
    return tuple(one for one in found if one is not None and one.danger is Danger.DOUBLE)


def _at_work(units: Collection[str], environment: Environment) -> list[str]:
    """Those of ``units`` that are active, or that something starts at boot."""
    return [
        unit
        for unit in units
        if environment.unit_is_active(unit)
        or any(is_wanted(unit, folder, environment) for folder in _WANTED_BY)
    ]


_NET_UTILS_UNIT = re.compile(r"(?:refresh-)?policy-routes@(.+)\.(?:service|timer)")
_NET_UTILS_WANTS = re.compile(r"(?:setup-)?policy-routes@.+\.service\.wants|timers\.target\.wants")
_NET_UTILS_RULE = "99-vpc-policy-routes.rules"
NET_UTILS_MASK = f"/etc/udev/rules.d/{_NET_UTILS_RULE}"
"""In place of its rule: a link to /dev/null."""
_NET_UTILS_TEMPLATE = f"{_ETC_UNITS}/policy-routes@.service"


def net_utils_at_work(environment: Environment) -> tuple[dict[str, str], bool]:
    """Its units with the link of each, and whether its udev rule is in force.

    The rule starts a unit per ENI at each boot, so that disabling units is not enough. The EKS AMI
    empties it; without it only the ENIs that a unit names are its.
    """
    names = {name.removeprefix("invocation:") for name in environment.list_folder(_ACTIVE)}
    for folder in environment.list_folder(_ETC_UNITS):
        if _NET_UTILS_WANTS.fullmatch(folder):
            wanted = environment.list_folder(f"{_ETC_UNITS}/{folder}")
            names.update(name for name in wanted if is_wanted(name, folder, environment))
    units = {name: unit[1] for name in sorted(names) if (unit := _NET_UTILS_UNIT.fullmatch(name))}
    own = environment.read_file(NET_UTILS_MASK)
    vendors = (environment.read_file(f"{folder}/{_NET_UTILS_RULE}") for folder in _VENDOR_RULES)
    # A file of the administrator's is in place of the vendor's (udev(7)).
    rule = not environment.is_masked(NET_UTILS_MASK) and any(
        (text or "").strip() for text in (vendors if own is None else [own])
    )
    if rule and environment.is_masked(_NET_UTILS_TEMPLATE):
        rule = False  # what it would start is masked
    return units, rule


def _net_utils(environment: Environment) -> Recognised | None:
    units, rule = net_utils_at_work(environment)
    if not units and not rule:
        if "80-ec2.network" not in environment.list_folder("/usr/lib/systemd/network"):
            return None
        return Recognised(
            Tool.NET_UTILS,
            Danger.NONE,
            "/usr/lib/systemd/network/80-ec2.network is there, and its units are not at work",
            "nothing has to be done; the package can be removed",
        )
    commands = [f"ln -sf /dev/null {NET_UTILS_MASK}", "udevadm control --reload"] if rule else []
    if units:
        commands.append(f"systemctl disable --now {' '.join(units)}")
    trace = (
        f"{next(iter(units))} is at work"
        if units
        else f"its udev rule {_NET_UTILS_RULE} is in force"
    )
    return Recognised(
        Tool.NET_UTILS,
        Danger.DOUBLE,
        trace,
        f"run: {' && '.join(commands)}",
        Rival.NET_UTILS,
        None if rule else frozenset(units.values()),
    )


_CLOUD_SETUP = "nm-cloud-setup.service"
_CLOUD_SETUP_ON = re.compile(
    r"^[^#;]*NM_CLOUD_SETUP_EC2=[\"']?(?:1|yes|y|true|t|on)\b|^[ \t]*EnvironmentFile=",
    re.MULTILINE | re.IGNORECASE,
)


def _nm_cloud_setup(environment: Environment) -> Recognised | None:
    """It works by NetworkManager, so only on links that NetworkManager has or will have."""
    units = _at_work(("nm-cloud-setup.timer", _CLOUD_SETUP), environment)
    if not units:
        return None
    trace = f"{units[0]} is enabled"
    if not _serves_ec2(environment):
        return Recognised(
            Tool.NM_CLOUD_SETUP,
            Danger.NONE,
            f"{trace}, but nothing sets NM_CLOUD_SETUP_EC2",
            "nothing has to be done: it does nothing on EC2 without that",
        )
    return Recognised(
        Tool.NM_CLOUD_SETUP,
        Danger.DOUBLE,
        trace,
        "run: systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service",
        Rival.NM_CLOUD_SETUP,
        frozenset(_of_networkmanager(environment)),
    )


def _serves_ec2(environment: Environment) -> bool:
    """Whether its unit or a drop-in turns EC2 on (nm-cloud-setup(8)); so if there is no text of it."""
    texts = []
    for folder in UNIT_FOLDERS:
        path = f"{folder}/{_CLOUD_SETUP}"
        paths = (path, *(f"{path}.d/{name}" for name in environment.list_folder(f"{path}.d")))
        texts += [text for path in paths if (text := environment.read_file(path)) is not None]
    return not texts or any(_CLOUD_SETUP_ON.search(text) for text in texts)


def _of_networkmanager(environment: Environment) -> Iterator[str]:
    """Links that it has or will have: at boot, and where it has others, nobody's as well."""
    if is_at_work(NETWORKMANAGER_UNIT, environment):
        managers = {link.name: link_manager(link, environment) for link in environment.eni_links}
        has = {Manager.NETWORKMANAGER, Manager.SEVERAL}
        if has & {*managers.values()} or not environment.unit_is_active(NETWORKMANAGER_UNIT):
            has.add(Manager.NOBODY)
        yield from (name for name, manager in managers.items() if manager in has)


_CLOUD_NETCONFIG = "/etc/default/cloud-netconfig"
_IFCFG = "/etc/sysconfig/network/ifcfg-"
_MANAGE = "CLOUD_NETCONFIG_MANAGE"


def _cloud_netconfig(environment: Environment) -> Recognised | None:
    """Beside its timer it is run by udev, NetworkManager and netconfig."""
    units = _at_work(("cloud-netconfig.timer", "cloud-netconfig.service"), environment)
    if units:
        command = f"systemctl disable --now {' '.join(units)}"
        managed = (
            link.name for link in environment.eni_links if _netconfig_has(link.name, environment)
        )
        return Recognised(
            Tool.CLOUD_NETCONFIG,
            Danger.DOUBLE,
            f"{units[0]} is enabled",
            f"run: {command}",
            Rival.CLOUD_NETCONFIG,
            frozenset(managed),
        )
    if environment.read_file(_CLOUD_NETCONFIG) is None:
        return None
    if environment.keys(_CLOUD_NETCONFIG).get(_MANAGE) == "no":
        return None
    return Recognised(
        Tool.CLOUD_NETCONFIG,
        Danger.POSSIBLE,
        f"{_CLOUD_NETCONFIG} is there: it is run by udev and by network managers",
        f'set {_MANAGE}="no" in {_CLOUD_NETCONFIG}, or remove the package',
    )


def _netconfig_has(name: str, environment: Environment) -> bool:
    """By the link's own file, else by the default (cloud-netconfig's README, "Configuration")."""
    own = environment.keys(f"{_IFCFG}{name}").get(_MANAGE)
    told = own or environment.keys(_CLOUD_NETCONFIG).get(_MANAGE, "yes")
    return told.strip("'\"") != "no"


_HOTPLUG_RULES = ("90-cloud-init-hook-hotplug.rules", "10-cloud-init-hook-hotplug.rules")


def _cloud_init(environment: Environment) -> Recognised | None:
    """cloud-init writes this rule where hotplug is on, and only then."""
    if environment.read_file("/etc/cloud/cloud-init.disabled") is not None:
        return None
    if environment.is_masked(f"{_ETC_UNITS}/cloud-init-hotplugd.socket"):
        return None
    rules = [r for r in _HOTPLUG_RULES if r in environment.list_folder("/etc/udev/rules.d")]
    if not rules:
        return None
    return Recognised(
        Tool.CLOUD_INIT,
        Danger.POSSIBLE,
        f"/etc/udev/rules.d/{rules[0]} is there: it configures each ENI that is attached",
        "run: systemctl mask --now cloud-init-hotplugd.socket",
    )


def _nodeadm(environment: Environment) -> Recognised | None:
    for parent in (_RUN_NETWORK, "/etc/systemd/network"):
        folder = f"{parent}/80-ec2.network.d"
        paths = [f"{folder}/{name}" for name in environment.list_folder(folder)]
        paths += [f"{parent}/{name}" for name in environment.list_folder(parent)]
        for path in paths:
            if path.rpartition("/")[2].startswith(("10-eks", "70-eks-")):
                return Recognised(
                    Tool.NODEADM,
                    Danger.POSSIBLE,
                    f"{path} is there",
                    'leave the CNI its ENIs: manage = "ignore" for them in the configuration',
                )
    return None


def _netplan(environment: Environment) -> Recognised | None:
    paths = [f"/etc/netplan/{name}" for name in environment.list_folder("/etc/netplan")]
    found = [path for path in paths if path.endswith(".yaml")]
    found += [
        f"{_RUN_NETWORK}/{name}"
        for name in environment.list_folder(_RUN_NETWORK)
        if name.startswith("10-netplan-")
    ]
    if not found:
        return None
    return Recognised(
        Tool.NETPLAN,
        Danger.NONE,
        f"{found[0]} is there",
        "nothing has to be done while it gives ENIs no more than DHCP: take routes,"
        " routing-policy and secondary addresses of ENIs out of it",
    )


_INTERFACES = "/etc/network/interfaces"
_STANZA = re.compile(r"^[ \t]*iface[ \t]+(\S+)[ \t]+(inet6?)[ \t]+(\S+)", re.MULTILINE)


def _ifupdown(environment: Environment) -> Recognised | None:
    for path, name, method in interfaces_stanzas(environment):
        if name in environment.eni_names and method != "manual":
            return Recognised(
                Tool.IFUPDOWN,
                Danger.NONE,
                f"{path} configures {name} ({method})",
                "nothing has to be done if it is the primary ENI with dhcp: take secondary ENIs,"
                f" and 'up' lines with routes and rules, out of {path}",
            )
    return None


def interfaces_stanzas(environment: Environment) -> Iterator[tuple[str, str, str]]:
    """Of every file of ifupdown: its path, the name of a link, and the method by which it comes up."""
    for path in _interfaces_files(environment):
        for name, _, method in _STANZA.findall(environment.read_file(path) or ""):
            yield path, name, method


def _interfaces_files(environment: Environment) -> Iterator[str]:
    """With Debian's cloud images, which write a file per link below /run."""
    yield _INTERFACES
    for folder in (f"{_INTERFACES}.d", "/run/network/interfaces.d"):
        yield from (f"{folder}/{name}" for name in environment.list_folder(folder))


_RIVALS = (_net_utils, _nm_cloud_setup, _cloud_netconfig)
