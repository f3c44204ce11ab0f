# SPDX-License-Identifier: Apache-2.0
"""Other tools that configure ENIs, by their traces on the host. Pure over the environment.

Sources: ``core/host/wiring.py`` for the tools that do the same work, cloud-init
(cc_install_hotplug, cloud-init-hotplugd.*), netplan-generate(8), nodeadm of amazon-eks-ami
(udev-net-manager), interfaces(5).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

from ec2net.core.config.settings import Rival
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import (
    NETWORKMANAGER_UNIT,
    UNIT_FOLDERS,
    Manager,
    is_at_work,
    link_manager,
)
from ec2net.core.host.wiring import CLOUD_NETCONFIG, ETC_UNITS, NET_UTILS, NM_CLOUD_SETUP, Wiring

_RUN_NETWORK = "/run/systemd/network"


class Tool(StrEnum):
    """Other tools that may configure ENIs; the value is the usual name."""

    NET_UTILS = Rival.NET_UTILS.value
    NM_CLOUD_SETUP = Rival.NM_CLOUD_SETUP.value
    CLOUD_NETCONFIG = Rival.CLOUD_NETCONFIG.value
    CLOUD_INIT = "cloud-init's network hotplug"
    NODEADM = "nodeadm (EKS)"
    NETPLAN = "netplan"
    IFUPDOWN = "ifupdown"


class Danger(Enum):
    """The risk of running ec2net with this tool."""

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
    """The tool's name in the configuration, if it has one."""
    links: frozenset[str] | None = None
    """ENI links that it configures; None: all."""

    def warning(self) -> str:
        """One line for a user, where the tool does the same work as ec2net."""
        return f"! {self.tool} also configures ENIs: {self.trace} ({self.remedy})"


def recognise(environment: Environment) -> tuple[Recognised, ...]:
    """Every tool that is found, in the order of ``Tool``: at most one remark for each.

    Asks systemd about each tool that does the same work: a timer of a removed package may still run.
    """
    others = (_cloud_init, _nodeadm, _netplan, _ifupdown)
    found = [finder(environment, True) for finder in _RIVALS]
    found += [finder(environment) for finder in others]
    return tuple(one for one in found if one is not None)


def rivals(environment: Environment) -> tuple[Recognised, ...]:
    """The tools that do the same work as ec2net. Every pass asks, so no other tool is sought, and
    systemd is asked only where a unit file of the tool can be started."""
    found = (finder(environment, False) for finder in _RIVALS)
    return tuple(one for one in found if one is not None and one.danger is Danger.DOUBLE)


def migrate_command(rival: Rival) -> str:
    """The command that shows how to hand over from this tool."""
    return f"ec2net migrate --from {rival}"


def _double(wiring: Wiring, trace: str, links: frozenset[str] | None = None) -> Recognised:
    """A tool that does the same work now. ``links``: of the ENIs that it configures; None: all."""
    remedy = f"run: {migrate_command(wiring.rival)}"
    return Recognised(Tool(wiring.rival.value), Danger.DOUBLE, trace, remedy, wiring.rival, links)


def _off(wiring: Wiring, environment: Environment) -> Recognised | None:
    """A tool whose files are installed and that nothing starts, with the proof."""
    installed = wiring.installed(environment)
    if not installed:
        return None
    proof = [
        f"{installed[0]} is installed, but systemd runs none of its units and has no job for one"
    ]
    if wiring.rule:
        mask = environment.is_masked(wiring.rule_mask())
        proof.append(
            f"{wiring.rule_mask()} masks its udev rule" if mask else "it has no active udev rule"
        )
    masked = not wiring.startable(environment)
    proof.append("its unit files are masked" if masked else "none of its units starts at boot")
    return Recognised(
        Tool(wiring.rival.value),
        Danger.NONE,
        ", ".join(proof),
        "nothing to do: the tool is off, and its package can be removed safely",
    )


def net_utils_works(environment: Environment, *, ask: bool) -> tuple[tuple[str, ...], bool]:
    """Its working units, and whether its udev rule starts a unit for each ENI."""
    units = NET_UTILS.working(environment, ask=ask)
    # The rule starts an instance of this template; masked, it starts nothing.
    masked = environment.is_masked(f"{ETC_UNITS}/policy-routes@.service")
    return units, NET_UTILS.rule_in_force(environment) and not masked


def _net_utils(environment: Environment, thorough: bool) -> Recognised | None:
    ask = thorough or NET_UTILS.startable(environment)
    units, rule = net_utils_works(environment, ask=ask)
    if units:
        links = frozenset(link for unit in units if (link := NET_UTILS.link_of(unit)))
        named = next((unit for unit in units if not unit.startswith("refresh-")), units[0])
        trace = f"{named} is active or enabled"
        return _double(NET_UTILS, trace, None if rule else links)
    if rule:
        return _double(NET_UTILS, f"its udev rule {NET_UTILS.rule} is in force")
    return _off(NET_UTILS, environment)


_CLOUD_SETUP = "nm-cloud-setup.service"
_CLOUD_SETUP_ON = re.compile(
    r"^[^#;]*NM_CLOUD_SETUP_EC2=[\"']?(?:1|yes|y|true|t|on)\b|^[ \t]*EnvironmentFile=",
    re.MULTILINE | re.IGNORECASE,
)


def _nm_cloud_setup(environment: Environment, thorough: bool) -> Recognised | None:
    """It works by NetworkManager, so only on links that NetworkManager has or will have."""
    ask = thorough or NM_CLOUD_SETUP.startable(environment)
    units = NM_CLOUD_SETUP.working(environment, ask=ask)
    if not units:
        return _off(NM_CLOUD_SETUP, environment)
    if not _serves_ec2(environment):
        return Recognised(
            Tool.NM_CLOUD_SETUP,
            Danger.NONE,
            f"{units[0]} is active or enabled, but nothing sets NM_CLOUD_SETUP_EC2",
            "nothing to do: without that setting the tool does nothing on EC2",
        )
    links = frozenset(_of_networkmanager(environment))
    return _double(NM_CLOUD_SETUP, f"{units[0]} is active or enabled", links)


def _serves_ec2(environment: Environment) -> bool:
    """Whether its unit or a drop-in turns EC2 on (nm-cloud-setup(8)); so if there is no text of it."""
    texts = []
    for folder in UNIT_FOLDERS:
        path = f"{folder}/{_CLOUD_SETUP}"
        paths = (path, *(f"{path}.d/{name}" for name in environment.list_folder(f"{path}.d")))
        texts += [text for path in paths if (text := environment.read_file(path)) is not None]
    return not texts or any(_CLOUD_SETUP_ON.search(text) for text in texts)


def _of_networkmanager(environment: Environment) -> Iterator[str]:
    """Links that the manager has or will have: at boot, and also unmanaged links if it has others."""
    if is_at_work(NETWORKMANAGER_UNIT, environment):
        managers = {link.name: link_manager(link, environment) for link in environment.eni_links}
        has = {Manager.NETWORKMANAGER, Manager.SEVERAL}
        if has & {*managers.values()} or not environment.unit_is_active(NETWORKMANAGER_UNIT):
            has.add(Manager.NOBODY)
        yield from (name for name, manager in managers.items() if manager in has)


CLOUD_NETCONFIG_SETTINGS = "/etc/default/cloud-netconfig"
"""The defaults of cloud-netconfig for all links."""
MANAGE = "CLOUD_NETCONFIG_MANAGE"
"""Its setting whether to configure a link."""
_IFCFG = "/etc/sysconfig/network/ifcfg-"


def _cloud_netconfig(environment: Environment, thorough: bool) -> Recognised | None:
    """Besides its timer, udev, NetworkManager and netconfig run it."""
    ask = thorough or CLOUD_NETCONFIG.startable(environment)
    units = CLOUD_NETCONFIG.working(environment, ask=ask)
    if units:
        managed = (
            link.name for link in environment.eni_links if _netconfig_has(link.name, environment)
        )
        trace = f"{units[0]} is active or enabled"
        return _double(CLOUD_NETCONFIG, trace, frozenset(managed))
    if environment.read_file(CLOUD_NETCONFIG_SETTINGS) is None:
        return _off(CLOUD_NETCONFIG, environment)
    if environment.keys(CLOUD_NETCONFIG_SETTINGS).get(MANAGE) == "no":
        return _off(CLOUD_NETCONFIG, environment)
    return Recognised(
        Tool.CLOUD_NETCONFIG,
        Danger.POSSIBLE,
        f"{CLOUD_NETCONFIG_SETTINGS} exists: udev and network managers run the tool",
        f"run: {migrate_command(Rival.CLOUD_NETCONFIG)}",
    )


def _netconfig_has(name: str, environment: Environment) -> bool:
    """By the link's own file, else by the default (cloud-netconfig's README, "Configuration")."""
    own = environment.keys(f"{_IFCFG}{name}").get(MANAGE)
    told = own or environment.keys(CLOUD_NETCONFIG_SETTINGS).get(MANAGE, "yes")
    return told.strip("'\"") != "no"


_HOTPLUG_RULES = ("90-cloud-init-hook-hotplug.rules", "10-cloud-init-hook-hotplug.rules")


def _cloud_init(environment: Environment) -> Recognised | None:
    """cloud-init writes this rule where hotplug is on, and only then."""
    if environment.read_file("/etc/cloud/cloud-init.disabled") is not None:
        return None
    if environment.is_masked(f"{ETC_UNITS}/cloud-init-hotplugd.socket"):
        return None
    rules = [r for r in _HOTPLUG_RULES if r in environment.list_folder("/etc/udev/rules.d")]
    if not rules:
        return None
    return Recognised(
        Tool.CLOUD_INIT,
        Danger.POSSIBLE,
        f"/etc/udev/rules.d/{rules[0]} exists: it configures each ENI that is attached",
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
                    f"{path} exists",
                    'leave the ENIs to the CNI plugin: set manage = "ignore" for them in the '
                    "configuration",
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
        f"{found[0]} exists",
        "nothing to do while it gives ENIs only DHCP; otherwise remove routes, routing-policy "
        "and secondary addresses of ENIs from it",
    )


_INTERFACES = "/etc/network/interfaces"
_STANZA = re.compile(r"^[ \t]*iface[ \t]+(\S+)[ \t]+(inet6?)[ \t]+(\S+)", re.MULTILINE)


def _ifupdown(environment: Environment) -> Recognised | None:
    found: dict[str, list[str]] = {}
    for path, name, method in interfaces_stanzas(environment):
        if name in environment.eni_names and method != "manual":
            found.setdefault(path, []).append(f"{name} ({method})")
    if not found:
        return None
    stanzas = (f"{path} configures {', '.join(names)}" for path, names in found.items())
    return Recognised(
        Tool.IFUPDOWN,
        Danger.NONE,
        "; ".join(stanzas),
        "nothing to do if it configures only the primary ENI with dhcp; otherwise "
        f"remove secondary ENIs, and 'up' lines with routes and rules, from {', '.join(found)}",
    )


def interfaces_stanzas(environment: Environment) -> Iterator[tuple[str, str, str]]:
    """From every file of ifupdown: its path, the name of a link, and the link's method."""
    for path in _interfaces_files(environment):
        for name, _, method in _STANZA.findall(environment.read_file(path) or ""):
            yield path, name, method


def _interfaces_files(environment: Environment) -> Iterator[str]:
    """With Debian's cloud images, which write a file per link below /run."""
    yield _INTERFACES
    for folder in (f"{_INTERFACES}.d", "/run/network/interfaces.d"):
        yield from (f"{folder}/{name}" for name in environment.list_folder(folder))


_RIVALS = (_net_utils, _nm_cloud_setup, _cloud_netconfig)
