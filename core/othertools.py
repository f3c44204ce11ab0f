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

from ec2net.core.environment import Environment

_ETC_UNITS = "/etc/systemd/system"
_ACTIVE = "/run/systemd/units"
_RUN_NETWORK = "/run/systemd/network"
_VENDOR_RULES = ("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_WANTED_BY = ("timers.target.wants", "NetworkManager.service.wants", "multi-user.target.wants")


class Tool(StrEnum):
    """Who else may configure ENIs; the value is what people call it."""

    NET_UTILS = "amazon-ec2-net-utils"
    NM_CLOUD_SETUP = "nm-cloud-setup"
    CLOUD_NETCONFIG = "cloud-netconfig"
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
    """It brings up the base that is built upon."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A tool that was found. ``trace`` is by what; ``remedy`` says what to do."""

    tool: Tool
    danger: Danger
    trace: str
    remedy: str


def recognise(environment: Environment) -> tuple[Recognised, ...]:
    """Every tool that is found, in the order of ``Tool``: at most one remark for each."""
    finders = (
        _net_utils,
        _nm_cloud_setup,
        _cloud_netconfig,
        _cloud_init,
        _nodeadm,
        _netplan,
        _ifupdown,
    )
    found = (finder(environment) for finder in finders)
    return tuple(one for one in found if one is not None)


def cloud_setup(environment: Environment) -> str:
    """Which unit of nm-cloud-setup is enabled or at work; empty if none is."""
    units = _at_work(("nm-cloud-setup.timer", "nm-cloud-setup.service"), environment)
    return units[0] if units else ""


def _at_work(units: Collection[str], environment: Environment) -> list[str]:
    """Those of ``units`` that are active, or that something starts at boot."""
    return [
        unit
        for unit in units
        if environment.unit_is_active(unit)
        or any(environment.read_link(f"{_ETC_UNITS}/{folder}/{unit}") for folder in _WANTED_BY)
    ]


_NET_UTILS_UNIT = re.compile(r"(?:refresh-)?policy-routes@.+\.(?:service|timer)")
_NET_UTILS_WANTS = re.compile(r"(?:setup-)?policy-routes@.+\.service\.wants|timers\.target\.wants")
_NET_UTILS_RULE = "99-vpc-policy-routes.rules"


def _net_utils(environment: Environment) -> Recognised | None:
    """Its udev rule starts a unit per ENI at each boot, so that disabling units is not enough.

    The EKS AMI empties that rule.
    """
    names = {name.removeprefix("invocation:") for name in environment.list_folder(_ACTIVE)}
    for folder in environment.list_folder(_ETC_UNITS):
        if _NET_UTILS_WANTS.fullmatch(folder):
            names.update(environment.list_folder(f"{_ETC_UNITS}/{folder}"))
    units = sorted(name for name in names if _NET_UTILS_UNIT.fullmatch(name))
    mask = f"/etc/udev/rules.d/{_NET_UTILS_RULE}"
    rule = environment.read_link(mask) != "/dev/null" and any(
        (environment.read_file(f"{folder}/{_NET_UTILS_RULE}") or "").strip()
        for folder in _VENDOR_RULES
    )
    if not units and not rule:
        if "80-ec2.network" not in environment.list_folder("/usr/lib/systemd/network"):
            return None
        return Recognised(
            Tool.NET_UTILS,
            Danger.NONE,
            "/usr/lib/systemd/network/80-ec2.network is there, and its units are not at work",
            "nothing has to be done; the package can be removed",
        )
    commands = [f"ln -sf /dev/null {mask}", "udevadm control --reload"] if rule else []
    if units:
        commands.append(f"systemctl disable --now {' '.join(units)}")
    trace = f"{units[0]} is at work" if units else f"its udev rule {_NET_UTILS_RULE} is in force"
    return Recognised(Tool.NET_UTILS, Danger.DOUBLE, trace, f"run: {' && '.join(commands)}")


def _nm_cloud_setup(environment: Environment) -> Recognised | None:
    unit = cloud_setup(environment)
    if not unit:
        return None
    return Recognised(
        Tool.NM_CLOUD_SETUP,
        Danger.DOUBLE,
        f"{unit} is enabled",
        "run: systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service",
    )


_CLOUD_NETCONFIG = "/etc/default/cloud-netconfig"


def _cloud_netconfig(environment: Environment) -> Recognised | None:
    """Beside its timer it is run by udev, NetworkManager and netconfig."""
    units = _at_work(("cloud-netconfig.timer", "cloud-netconfig.service"), environment)
    if units:
        command = f"systemctl disable --now {' '.join(units)}"
        trace = f"{units[0]} is enabled"
        return Recognised(Tool.CLOUD_NETCONFIG, Danger.DOUBLE, trace, f"run: {command}")
    if environment.read_file(_CLOUD_NETCONFIG) is None:
        return None
    if environment.keys(_CLOUD_NETCONFIG).get("CLOUD_NETCONFIG_MANAGE") == "no":
        return None
    return Recognised(
        Tool.CLOUD_NETCONFIG,
        Danger.POSSIBLE,
        f"{_CLOUD_NETCONFIG} is there: it is run by udev and by network managers",
        f'set CLOUD_NETCONFIG_MANAGE="no" in {_CLOUD_NETCONFIG}, or remove the package',
    )


_HOTPLUG_RULES = ("90-cloud-init-hook-hotplug.rules", "10-cloud-init-hook-hotplug.rules")


def _cloud_init(environment: Environment) -> Recognised | None:
    """cloud-init writes this rule where hotplug is on, and only then."""
    if environment.read_file("/etc/cloud/cloud-init.disabled") is not None:
        return None
    if environment.read_link(f"{_ETC_UNITS}/cloud-init-hotplugd.socket") == "/dev/null":
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
    names = {name for link in environment.eni_links for name in (link.name, *link.altnames)}
    for path in _interfaces_files(environment):
        for name, _, method in _STANZA.findall(environment.read_file(path) or ""):
            if name in names and method != "manual":
                return Recognised(
                    Tool.IFUPDOWN,
                    Danger.NONE,
                    f"{path} configures {name} ({method})",
                    "nothing has to be done if it is the primary ENI with dhcp: take secondary ENIs,"
                    f" and 'up' lines with routes and rules, out of {path}",
                )
    return None


def _interfaces_files(environment: Environment) -> Iterator[str]:
    """With Debian's cloud images, which write a file per link below /run."""
    yield _INTERFACES
    for folder in (f"{_INTERFACES}.d", "/run/network/interfaces.d"):
        yield from (f"{folder}/{name}" for name in environment.list_folder(folder))
