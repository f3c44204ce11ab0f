# SPDX-License-Identifier: Apache-2.0
"""The grammar of the command line, as data; the parser and the documents are made from it."""

import argparse
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias


def seconds(text: str) -> float:
    """A number of seconds that a command line gives. Raises ``ArgumentTypeError``."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds, more than 0 and at most 3600"
        )
    return number


def endpoint(text: str) -> tuple[str, int]:
    """An address and a port, such as ``[2001:db8::1]:443``. Raises ``ArgumentTypeError``."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ip_address(bare)
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536 or (":" in bare and bare == host):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not ADDRESS:PORT, or [ADDRESS]:PORT for IPv6"
        )
    return str(address), number


@dataclass(frozen=True, slots=True)
class Argument:
    """What ``ArgumentParser.add_argument`` takes."""

    names: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Arguments that exclude each other."""

    arguments: tuple[Argument, ...]
    required: bool = False


Arguments: TypeAlias = tuple[Argument | OneOf, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One command; ``json``: whether it can print JSON."""

    name: str
    text: str
    arguments: Arguments = ()
    json: bool = True
    epilog: str | None = None


def _value(name: str, **options: Any) -> Argument:
    return Argument((name,), options)


def _flag(name: str, text: str) -> Argument:
    return Argument((name,), {"action": "store_true", "help": text})


COMMON: Arguments = (
    Argument(
        ("-v", "--verbose"),
        {"action": "store_true", "help": "log every decision and why it was made"},
    ),
    _value(
        "--run-dir",
        type=Path,
        default=Path("/run/ec2net"),
        metavar="DIR",
        help="where ec2net keeps the state of this boot (default: %(default)s)",
    ),
    _value(
        "--config-root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="the root of etc/ec2net, run/ec2net and usr/lib/ec2net (default: /)",
    ),
)
"""Of every command."""

JSON = _flag("--json", "print JSON")

_LINK = "the name of the ENI's link, such as ens6"
_APPLY = _flag("--apply", "make the changes, then refresh all ENIs")

COMMANDS = (
    Command(
        "plan",
        "show what 'ec2net refresh' would change; changes nothing",
        (
            _value(
                "--imds",
                type=Path,
                metavar="FILE",
                help="plan offline, from a file that 'ec2net record' wrote or from a copy of IMDS's"
                " tree, such as cloud-init's instance-data.json",
            ),
            _flag("--exit-code", "end with 4 if a refresh would change something"),
        ),
    ),
    Command(
        "refresh",
        "configure every ENI to match IMDS",
        (
            _flag(
                "--unless-quiet",
                "for the timer: with one ENI and one address, run a pass only every five minutes",
            ),
            _flag("--retry", "also retry changes that were rolled back and are on hold"),
        ),
    ),
    Command(
        "start",
        "configure one ENI as soon as its link exists",
        (
            OneOf(
                (
                    _value("link", metavar="LINK", nargs="?", help=_LINK),
                    _flag("--primary", "the primary ENI, whatever the name of its link"),
                ),
                required=True,
            ),
            _value(
                "--timeout",
                type=seconds,
                metavar="SECONDS",
                help="how long to wait for the link and for IMDS to list it (default: timeouts.link, 30)",
            ),
        ),
    ),
    Command(
        "remove",
        "remove everything that ec2net configured for one ENI",
        (
            _value("link", metavar="LINK", help=_LINK),
            _flag("--if-gone", "do nothing while the link exists"),
            _flag("--force", "also for the primary ENI, on which the host's network depends"),
        ),
    ),
    Command(
        "run", "keep running, and keep every ENI in line with IMDS (ec2net.service)", json=False
    ),
    Command(
        "status",
        "show the state of each ENI, as of the last pass",
        (
            _value(
                "--watch",
                type=seconds,
                nargs="?",
                const=2.0,
                metavar="SECONDS",
                help="repeat every SECONDS seconds (default: 2) when something changed, until Ctrl-C",
            ),
        ),
    ),
    Command(
        "verify",
        "ask the kernel whether routing matches the intent",
        (
            _flag(
                "--connect",
                "also connect from each address to IMDS, which the VPC answers only for the ENI that"
                " owns the address",
            ),
            _value(
                "--to",
                type=endpoint,
                metavar="ADDRESS:PORT",
                help="with --connect: also connect to this TCP service, such as [2001:db8::1]:443",
            ),
        ),
    ),
    Command(
        "doctor",
        "find problems on this host, with their causes and remedies",
        epilog="exit status: 1 if doctor found errors; 0 if it found only warnings and notes.",
    ),
    Command(
        "explain",
        "explain how a link or address is configured, and why",
        (
            _value(
                "what",
                metavar="LINK|ADDRESS",
                nargs="?",
                help="the link, id or MAC of an ENI, or an address of an ENI",
            ),
            OneOf(
                (
                    _flag(
                        "--dot",
                        "print a graph of sources, rules, tables and links in the DOT language, for"
                        " one ENI or for all",
                    ),
                    _flag("--svg", "print the same graph as SVG; needs graphviz"),
                )
            ),
        ),
    ),
    Command(
        "record",
        "write everything that ec2net observes as JSON, for 'plan --imds'",
        (
            _value("output", nargs="?", type=Path, metavar="FILE", help="default: standard output"),
            _flag(
                "--redact",
                "replace MAC addresses and ENI ids; IP addresses stay (a record never contains"
                " tokens, credentials or user data)",
            ),
        ),
        json=False,
    ),
    Command(
        "support",
        "write one archive for a bug report: record, status, doctor, verify, journal, versions",
        (
            _value(
                "output",
                nargs="?",
                type=Path,
                metavar="FILE",
                help="default: ec2net-support-TIME.tar.gz in this folder",
            ),
            _flag("--redact", "replace MAC addresses and ENI ids; IP addresses stay"),
        ),
        json=False,
    ),
    Command("backends", "list the backends, and which one configures each link, and why"),
    Command(
        "config",
        "check or show the configuration",
        (
            OneOf(
                (
                    _flag("--check", "check the configuration files and report every mistake"),
                    _flag("--show", "show each effective value and the file that set it"),
                ),
                required=True,
            ),
        ),
    ),
    Command(
        "migrate",
        "hand over from another tool, or show what that would change",
        (
            _value(
                "--from",
                dest="tool",
                choices=["amazon-ec2-net-utils", "nm-cloud-setup", "cloud-netconfig"],
                help="the tool to end; without it, each of the three is looked for",
            ),
            _flag("--undo", "restore the tool to its state before the migration"),
            _APPLY,
        ),
    ),
    Command(
        "adopt",
        "hand this host to another network manager, or show how",
        (
            _value(
                "manager",
                choices=["networkd"],
                help="systemd-networkd with systemd-resolved, from NetworkManager or ifupdown",
            ),
            _flag("--undo", "restore the former network manager"),
            _APPLY,
        ),
    ),
    Command(
        "early",
        "at boot: write systemd-networkd's files before systemd-networkd starts",
        json=False,
    ),
    Command("set-hostname", "set the static hostname from IMDS if the host has none", json=False),
    Command(
        "demo",
        "show ec2net in a simulated VPC on this machine",
        (_flag("--keep-going", "continue after a step whose check failed"),),
        json=False,
    ),
)
"""In the order of the help."""
