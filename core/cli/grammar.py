# SPDX-License-Identifier: Apache-2.0
"""The grammar of the command line, as data; the parser and the documents are made from it."""

import argparse
from dataclasses import dataclass
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
        ("-v", "--verbose"), {"action": "store_true", "help": "tell each decision and its reason"}
    ),
    _value(
        "--run-dir",
        type=Path,
        default=Path("/run/ec2net"),
        metavar="DIR",
        help="state of this boot (default: %(default)s)",
    ),
    _value(
        "--config-root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="where etc/ec2net, run/ec2net and usr/lib/ec2net are looked for (default: /)",
    ),
)
"""Of every command."""

JSON = _flag("--json", "print JSON")

_LINK = "its name, such as ens6"
_APPLY = _flag("--apply", "do it, and refresh all ENIs")

COMMANDS = (
    Command(
        "plan",
        "show what would change; changes nothing",
        (
            _value(
                "--imds",
                type=Path,
                metavar="FILE",
                help="plan offline from a record (see 'ec2net record') or a tree of IMDS, such as"
                " cloud-init's instance-data.json",
            ),
        ),
    ),
    Command(
        "refresh",
        "make every ENI as IMDS describes it",
        (
            _flag(
                "--unless-quiet",
                "for the timer: with one ENI and one address, look only every five minutes",
            ),
            _flag("--retry", "also try again what cut the host off and was rolled back"),
        ),
    ),
    Command(
        "start",
        "configure one ENI as soon as its link is there",
        (
            OneOf(
                (
                    _value("link", metavar="LINK", nargs="?", help=_LINK),
                    _flag("--primary", "the primary ENI, whatever its name"),
                ),
                required=True,
            ),
            _value(
                "--timeout",
                type=seconds,
                metavar="SECONDS",
                help="for the link to come and IMDS to know it (default: timeouts.link, 30)",
            ),
        ),
    ),
    Command(
        "remove",
        "take back everything that was configured for one ENI",
        (
            _value("link", metavar="LINK", help=_LINK),
            _flag("--if-gone", "do nothing while the link is there"),
        ),
    ),
    Command("run", "stay and keep every ENI as IMDS describes it (ec2net.service)", json=False),
    Command(
        "status",
        "show where each ENI stands, from the last pass",
        (
            _value(
                "--watch",
                type=seconds,
                nargs="?",
                const=2.0,
                metavar="SECONDS",
                help="look again after so many seconds (2), and show what changed, until Ctrl-C",
            ),
        ),
    ),
    Command("verify", "ask the kernel whether everything is as intended"),
    Command(
        "doctor",
        "find what is wrong on this host, why, and what to do about it",
        epilog="exit status: 1 if there are errors; 0 also with warnings and notes alone.",
    ),
    Command(
        "explain",
        "tell the story of a link or an address",
        (
            _value(
                "what",
                metavar="LINK|ADDRESS",
                nargs="?",
                help="an ENI's link, id or MAC, or an address that it holds",
            ),
            OneOf(
                (
                    _flag(
                        "--dot",
                        "draw sources, rules, tables and links instead, of one ENI or of all, in the"
                        " language DOT",
                    ),
                    _flag("--svg", "the same as an SVG picture, by graphviz's dot"),
                )
            ),
        ),
    ),
    Command(
        "record",
        "write what was observed as JSON, for 'plan --imds'",
        (
            _value("output", nargs="?", type=Path, metavar="FILE", help="default: standard output"),
            _flag(
                "--redact",
                "with other MAC addresses and ENI ids (tokens, credentials and user data are never"
                " in it; IP addresses are)",
            ),
        ),
        json=False,
    ),
    Command("backends", "list backends, and which one each link gets and why"),
    Command(
        "config",
        "check or show the configuration",
        (
            OneOf(
                (
                    _flag("--check", "say what is wrong in the files"),
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
            _flag("--undo", "give the tool back as it was before the migration"),
            _APPLY,
        ),
    ),
    Command(
        "adopt",
        "hand this host to another network manager; says how, or does it",
        (
            _value(
                "manager",
                choices=["networkd"],
                help="systemd-networkd with systemd-resolved, from NetworkManager or ifupdown",
            ),
            _flag("--undo", "give the host back as it was"),
            _APPLY,
        ),
    ),
    Command("early", "at boot: give systemd-networkd its files before it starts", json=False),
    Command("set-hostname", "set the static hostname from IMDS where there is none", json=False),
    Command(
        "demo",
        "show everything at work in a simulated VPC on this machine",
        (_flag("--keep-going", "go on after a step whose check failed"),),
        json=False,
    ),
)
"""In the order of the help."""
