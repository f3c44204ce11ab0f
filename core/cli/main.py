# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, one command module imported and run, exit status out.

Expected errors become one line; a traceback means a bug. Nothing heavy is imported here.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from ec2net import __version__
from ec2net.core.cli.output import printable_output
from ec2net.core.model.errors import EXIT_MEANING, Ec2netError, ExitStatus, Stopped
from ec2net.core.model.identity import printable

_EPILOG = f"""\
exit status: {", ".join(f"{int(s)} {text}" for s, text in EXIT_MEANING.items())}.  More is in
ec2net(8), ec2net.toml(5) and ec2net-backends(7).""".replace("`", "")

_DESCRIPTION = "Configure every network interface (ENI) of an EC2 instance, as IMDS describes it."


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as every other error does; the usage is what --help is for."""

    def error(self, message: str) -> NoReturn:
        said = printable(f"ec2net: {message} (see '{self.prog} --help')")
        self.exit(ExitStatus.USAGE, f"{said}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit status of the process."""
    _have_streams()
    options = parser().parse_args(arguments)
    from ec2net.core.runtime import log

    log.set_up(verbose=options.verbose)
    name = str(options.command).replace("-", "_")
    if arguments is None and options.command != "demo":
        # As an exception, Ctrl-C could come up anywhere; commands that change things ask for it
        # themselves (StopSignals), the others can end at once. The demo says good-bye.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if options.command != "run":  # it waits all its life
            from ec2net.core.runtime import progress

            progress.set_up()
    try:
        command = importlib.import_module(f"ec2net.core.cli.commands.{name}")
        with nullcontext() if name == "demo" else printable_output():
            status: ExitStatus = command.run(options)
            sys.stdout.flush()
    except Ec2netError as error:
        print(printable(f"ec2net: {error}", keep="\n"), file=sys.stderr)
        if isinstance(error, Stopped):
            _die_by_signal()
        return error.exit_status
    except BrokenPipeError:
        _lose_output()
        return ExitStatus.FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _lose_output()
        print(f"ec2net: cannot write the output: {error.strerror}", file=sys.stderr)
        return ExitStatus.FAILED
    return status


def _have_streams() -> None:
    """Python has None for a stream whose descriptor was closed by the caller (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (it stays open)


def _lose_output() -> None:
    """What is still buffered would fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die_by_signal() -> None:
    """End as the signal would have ended it: service managers then see a stop, not a failure."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def parser() -> argparse.ArgumentParser:
    """The whole grammar; documentation is generated from it."""
    common = _Parser(add_help=False)
    common.add_argument(
        "-v", "--verbose", action="store_true", help="tell each decision and its reason"
    )
    common.add_argument(
        "--run-dir",
        type=Path,
        default=Path("/run/ec2net"),
        metavar="DIR",
        help="state of this boot (default: %(default)s)",
    )
    common.add_argument(
        "--config-root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="where etc/ec2net, run/ec2net and usr/lib/ec2net are looked for (default: /)",
    )
    top = _Parser(prog="ec2net", description=_DESCRIPTION, epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"ec2net {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str, *, json: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common])
        if json:
            sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    plan = add("plan", "show what would change; changes nothing")
    plan.add_argument(
        "--imds",
        type=Path,
        metavar="FILE",
        help="plan offline from a record (see 'ec2net record') or a tree of IMDS, such as"
        " cloud-init's instance-data.json",
    )
    refresh = add("refresh", "make every ENI as IMDS describes it")
    refresh.add_argument(
        "--unless-quiet",
        action="store_true",
        help="for the timer: with one ENI and one address, look only every five minutes",
    )
    refresh.add_argument(
        "--retry",
        action="store_true",
        help="also try again what cut the host off and was rolled back",
    )
    start = add("start", "configure one ENI as soon as its link is there")
    which = start.add_mutually_exclusive_group(required=True)
    which.add_argument("link", metavar="LINK", nargs="?", help="its name, such as ens6")
    which.add_argument("--primary", action="store_true", help="the primary ENI, whatever its name")
    start.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="for the link to come and IMDS to know it (default: timeouts.link, 30)",
    )
    remove = add("remove", "take back everything that was configured for one ENI")
    remove.add_argument("link", metavar="LINK", help="its name, such as ens6")
    remove.add_argument("--if-gone", action="store_true", help="do nothing while the link is there")
    add("run", "stay and keep every ENI as IMDS describes it (ec2net.service)", json=False)
    status = add("status", "show where each ENI stands, from the last pass")
    status.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="look again after so many seconds (2), and show what changed, until Ctrl-C",
    )
    add("verify", "ask the kernel whether everything is as intended")
    doctor = add("doctor", "find what is wrong on this host, why, and what to do about it")
    doctor.epilog = "exit status: 1 if there are errors; 0 also with warnings and notes alone."
    explain = add("explain", "tell the story of a link or an address")
    explain.add_argument(
        "what",
        metavar="LINK|ADDRESS",
        nargs="?",
        help="an ENI's link, id or MAC, or an address that it holds",
    )
    how = explain.add_mutually_exclusive_group()
    how.add_argument(
        "--dot",
        action="store_true",
        help="draw sources, rules, tables and links instead, of one ENI or of all, in the language DOT",
    )
    how.add_argument(
        "--svg", action="store_true", help="the same as an SVG picture, by graphviz's dot"
    )
    record = add("record", "write what was observed as JSON, for 'plan --imds'", json=False)
    record.add_argument(
        "output", nargs="?", type=Path, metavar="FILE", help="default: standard output"
    )
    record.add_argument(
        "--redact",
        action="store_true",
        help="with other MAC addresses and ENI ids (tokens, credentials and user data are never"
        " in it; IP addresses are)",
    )
    add("backends", "list backends, and which one each link gets and why")
    config = add("config", "check or show the configuration")
    what = config.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="say what is wrong in the files")
    what.add_argument(
        "--show", action="store_true", help="show each effective value and the file that set it"
    )
    migrate = add("migrate", "take the place of another tool on this host; says how, or does it")
    migrate.add_argument(
        "--from",
        dest="tool",
        choices=["amazon-ec2-net-utils"],
        required=True,
        help="the tool that ends: its units, its udev rule, and the files that it wrote",
    )
    migrate.add_argument("--apply", action="store_true", help="do it, and refresh all ENIs")
    adopt = add("adopt", "hand this host to another network manager; says how, or does it")
    adopt.add_argument(
        "manager",
        choices=["networkd"],
        help="systemd-networkd with systemd-resolved, from NetworkManager or ifupdown",
    )
    adopt.add_argument("--undo", action="store_true", help="give the host back as it was")
    adopt.add_argument("--apply", action="store_true", help="do it, and refresh all ENIs")
    add("early", "at boot: give systemd-networkd its files before it starts", json=False)
    add("set-hostname", "set the static hostname from IMDS where there is none", json=False)
    demo = add("demo", "show everything at work in a simulated VPC on this machine", json=False)
    demo.add_argument(
        "--keep-going", action="store_true", help="go on after a step whose check failed"
    )
    return top


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds, more than 0 and at most 3600"
        )
    return seconds
