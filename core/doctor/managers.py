# SPDX-License-Identifier: Apache-2.0
"""Network managers that do not run, or whose settings harm what ec2net configures. Pure."""

from collections.abc import Iterator

from ec2net.core.decide.intent import EniIntent
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.engine.pass_plan import View
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import (
    NETWORKD_UNIT,
    NETWORKMANAGER_LINKS,
    NETWORKMANAGER_UNIT,
)

_NETWORKD = "networkd"
_UNITS = {_NETWORKD: NETWORKD_UNIT, "networkmanager": NETWORKMANAGER_UNIT}
"""The unit of each built-in backend with a network manager."""

_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
"""networkd.conf(5), the first one first."""

_OURS = "/usr/lib/systemd/networkd.conf.d/80-ec2net.conf"
_KEYS = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
_NO = ("no", "false", "off", "0", "n", "f")
"""systemd.syntax(7), boolean values."""


def findings(view: View, environment: Environment) -> Iterator[Finding]:
    """For each network manager that a backend uses for an ENI."""
    for backend, unit in _UNITS.items():
        links = [eni.link.name for eni in view.host.ready if _has(backend, eni, view, environment)]
        if not links:
            continue
        if not environment.unit_is_active(unit):
            yield _dead(unit, links, environment)
        if backend == _NETWORKD:
            yield from _deletes(environment)


def _has(backend: str, eni: EniIntent, view: View, environment: Environment) -> bool:
    """NetworkManager keeps its state files when it stops, so they also show a masked one."""
    choice = view.choices.get(eni.mac)
    chosen = choice.backend if choice is not None else None
    if chosen == "netlink" and backend == "networkmanager":
        kept = environment.keys(f"{NETWORKMANAGER_LINKS}/{eni.link.index}")
        return kept.get("managed") in ("true", "yes")
    return chosen == backend


def _dead(unit: str, links: list[str], environment: Environment) -> Finding:
    masked = environment.is_masked(f"/etc/systemd/system/{unit}")
    state = "is masked" if masked else "does not run"
    first = f"systemctl unmask {unit} && " if masked else ""
    return Finding(
        Severity.ERROR,
        Check.MANAGER,
        unit,
        f"the unit {state}: nothing renews the leases of {', '.join(links)}, and their addresses end "
        "with the leases",
        f"run: {first}systemctl start {unit}; see why it ended: journalctl -b -u {unit}",
    )


def _deletes(environment: Environment) -> Iterator[Finding]:
    """By default systemd-networkd deletes foreign routes and rules, and so those of ec2net."""
    settings = _settings(environment)
    wrong = [key for key in _KEYS if settings.get(key, "yes").lower() not in _NO]
    if wrong:
        yield Finding(
            Severity.WARNING,
            Check.MANAGER,
            NETWORKD_UNIT,
            f"{' and '.join(wrong)} of systemd-networkd: not set to no, so each reload and restart "
            "deletes ec2net's objects",
            f"restore {_OURS}, or remove the setting that overrides it from /etc/systemd; then: "
            f"systemctl restart {NETWORKD_UNIT}",
        )


def _settings(environment: Environment) -> dict[str, str]:
    """The section [Network] of networkd.conf and its drop-ins; the last value counts."""
    mains = (environment.read_file(f"{folder}/networkd.conf") for folder in _FOLDERS)
    texts = [next((text for text in mains if text is not None), "")]
    drop_ins: dict[str, str] = {}
    for folder in reversed(_FOLDERS):
        for name in environment.list_folder(f"{folder}/networkd.conf.d"):
            if name.endswith(".conf"):
                drop_ins[name] = f"{folder}/networkd.conf.d/{name}"
    texts += [environment.read_file(path) or "" for _, path in sorted(drop_ins.items())]
    found: dict[str, str] = {}
    for text in texts:
        found |= _section(text)
    return found


def _section(text: str) -> dict[str, str]:
    """The assignments of [Network]."""
    found, inside = {}, False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == "[Network]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
    return found
