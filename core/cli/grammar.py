# SPDX-License-Identifier: Apache-2.0
"""The grammar of the command line, as data; the parser and the documents are made from it.

Named tuples, and modules imported where they are used: every command pays for this module, and
``--help`` for little else.
"""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ec2net.core.runtime.colour import AUTO, WHEN

if TYPE_CHECKING:
    from pathlib import Path


def path(text: str) -> "Path":
    """A path that a command line gives."""
    from pathlib import Path

    return Path(text)


def seconds(text: str) -> float:
    """A number of seconds that a command line gives. Raises ``ArgumentTypeError``."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0 and up to 3600"
        )
    return number


_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_DAYS_MAX = 30


def duration(text: str) -> float:
    """Seconds of a duration like ``90m``, ``2h`` or ``1d``. Raises ``ArgumentTypeError``."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    seconds = int(number) * unit if unit and number.isdecimal() and len(number) < 6 else 0
    if not 0 < seconds <= _DAYS_MAX * _UNITS["d"]:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not a duration such as 90m, 2h or 1d, up to {_DAYS_MAX}d"
        )
    return seconds


def endpoint(text: str) -> tuple[str, int]:
    """An address and a port, such as ``[2001:db8::1]:443``. Raises ``ArgumentTypeError``."""
    from ipaddress import ip_address

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


class Argument(NamedTuple):
    """Arguments for ``ArgumentParser.add_argument``."""

    names: tuple[str, ...]
    options: dict[str, Any]


class OneOf(NamedTuple):
    """Arguments that exclude each other."""

    arguments: tuple[Argument, ...]
    required: bool = False


Arguments: TypeAlias = tuple[Argument | OneOf, ...]


class Command(NamedTuple):
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
        "--color",
        choices=WHEN,
        default=AUTO,
        metavar="WHEN",
        help="print colours: auto (on a terminal, unless NO_COLOR is set), always or never (default:"
        " %(default)s)",
    ),
    _value(
        "--run-dir",
        type=path,
        default="/run/ec2net",
        metavar="DIR",
        help="the directory in which ec2net keeps its state until the next boot (default: %(default)s)",
    ),
    _value(
        "--config-root",
        type=path,
        default="/",
        metavar="DIR",
        help="the directory that contains etc/ec2net, run/ec2net and usr/lib/ec2net (default: /)",
    ),
)
"""Options of every command."""

JSON = _flag("--json", "print JSON")

_LINK = "the name of the ENI's link, such as ens6"
_APPLY = _flag("--apply", "make the changes; without --apply, the command only shows them")

COMMANDS = (
    Command(
        "plan",
        "show what 'ec2net refresh' would change; changes nothing",
        (
            _value(
                "--imds",
                type=path,
                metavar="FILE",
                help="read a file instead of IMDS and the kernel: one that 'ec2net record' wrote, or a"
                " copy of the values of IMDS, such as cloud-init's instance-data.json",
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
                "for the timer: on a host with one ENI and one address, do nothing if the last refresh is"
                " less than five minutes ago",
            ),
            _flag("--retry", "also retry changes that ec2net rolled back and put on hold"),
        ),
    ),
    Command(
        "start",
        "configure one ENI as soon as its link exists",
        (
            OneOf(
                (
                    _value("link", metavar="LINK", nargs="?", help=_LINK),
                    _flag("--primary", "configure the primary ENI, whatever the name of its link"),
                ),
                required=True,
            ),
            _value(
                "--timeout",
                type=seconds,
                metavar="SECONDS",
                help="how long to wait until the link exists and IMDS lists its ENI (default: the setting"
                " timeouts.link, 30)",
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
        "pause",
        "stop all changes on this host for a time; ec2net still watches the ENIs",
        (
            _value(
                "--for",
                dest="seconds",
                type=duration,
                required=True,
                metavar="DURATION",
                help="how long, such as 90m, 2h or 1d; at most 30d",
            ),
            _value("--reason", default="", metavar="TEXT", help="a reason, which 'status' shows"),
        ),
        json=False,
    ),
    Command("resume", "end a pause, and make the changes that waited for its end", json=False),
    Command(
        "run",
        "run the daemon, which configures every ENI to match IMDS (ec2net.service)",
        json=False,
    ),
    Command(
        "status",
        "show the state that each ENI had when ec2net last checked all ENIs",
        (
            _value(
                "eni",
                metavar="LINK|ENI",
                nargs="?",
                help="only the ENI with this link, id or MAC address; write it before --watch",
            ),
            _value(
                "--watch",
                type=seconds,
                nargs="?",
                const=2.0,
                metavar="SECONDS",
                help="look every SECONDS seconds (default: 2), and print when something changed, on a"
                " terminal with the ages of states; end with Ctrl-C",
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
        epilog="exit status: 1 if doctor found errors; 0 if it found nothing, or only warnings and notes.",
    ),
    Command(
        "explain",
        "explain how a link or address is configured, and why",
        (
            _value(
                "what",
                metavar="LINK|ENI|ADDRESS",
                nargs="?",
                help="the link, id or MAC address of an ENI, or an IP address of an ENI",
            ),
            OneOf(
                (
                    _flag(
                        "--dot",
                        "draw which source address uses which rule, table and link, for one ENI or for"
                        " all; print the graph in the DOT language",
                    ),
                    _flag("--svg", "print the same graph as SVG; needs graphviz"),
                )
            ),
        ),
    ),
    Command(
        "record",
        "write all inputs of a plan to a JSON file; 'plan --imds' can read the file",
        (
            _value("output", nargs="?", type=path, metavar="FILE", help="default: standard output"),
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
                type=path,
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
        "replace another tool with ec2net; without --apply, only show the steps",
        (
            _value(
                "--from",
                dest="tool",
                choices=["amazon-ec2-net-utils", "nm-cloud-setup", "cloud-netconfig"],
                help="the tool to replace; --apply requires it, except with --undo. Without it, the command"
                " reports on all three tools",
            ),
            _flag("--undo", "restore the other tool to its state before the migration"),
            _APPLY,
        ),
    ),
    Command(
        "adopt",
        "change this host to systemd-networkd; without --apply, only show the steps",
        (
            _value(
                "manager",
                choices=["networkd"],
                help="replace NetworkManager or ifupdown with systemd-networkd and systemd-resolved",
            ),
            _flag("--undo", "restore the former network manager"),
            _APPLY,
        ),
    ),
    Command(
        "early",
        "write the network manager's files for the ENIs (ec2net-early.service runs this at boot)",
        json=False,
    ),
    Command(
        "set-hostname",
        "set the static hostname to the one in IMDS, if the host has none",
        json=False,
    ),
    Command(
        "help",
        "describe ec2net, or the arguments of one command",
        (_value("about", metavar="COMMAND", nargs="?", help="the name of a command"),),
        json=False,
    ),
    Command(
        "demo",
        "show ec2net in a simulated VPC on this machine",
        (_flag("--keep-going", "continue with the next step when a check fails"),),
        json=False,
    ),
)
"""In the order of the help."""
