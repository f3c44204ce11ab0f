# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, one command module imported and run, exit status out.

Expected errors become one line; a traceback means a bug. Nothing heavy is imported here: a refresh
runs often on small instances, so a module imports requests and pyroute2 where it uses them.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

from ec2net import __version__
from ec2net.core.cli.grammar import COMMANDS, COMMON, JSON, Argument, Arguments
from ec2net.core.cli.output import printable_output
from ec2net.core.model.errors import EXIT_MEANING, Ec2netError, ExitStatus, Stopped
from ec2net.core.model.identity import printable

_EPILOG = "\n".join(
    (
        "exit status:",
        *(
            textwrap.fill(f"{int(s)}  {text}", 78, initial_indent="  ", subsequent_indent="     ")
            for s, text in EXIT_MEANING.items()
        ),
        "",
        "The manual pages are ec2net(8), ec2net.toml(5) and ec2net-backends(7).",
    )
).replace("`", "")

_DESCRIPTION = "Configure every network interface (ENI) of an EC2 instance to match IMDS."


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
        # As an exception, Ctrl-C could be raised anywhere; commands that change things check for
        # it themselves (StopSignals), the others can end at once. The demo prints a last line.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if options.command != "run":  # the daemon waits all the time
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
    """Drop the buffered output: it would fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die_by_signal() -> None:
    """End as the signal would have ended it: service managers then see a stop, not a failure."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def parser() -> argparse.ArgumentParser:
    """The whole grammar; documentation is generated from it."""
    common = _Parser(add_help=False)
    _add(common, COMMON)
    top = _Parser(
        prog="ec2net",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # a line for each status
    )
    top.add_argument("--version", action="version", version=f"ec2net {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for one in COMMANDS:
        sub = commands.add_parser(
            one.name, help=one.text, description=one.text, parents=[common], epilog=one.epilog
        )
        _add(sub, (*((JSON,) if one.json else ()), *one.arguments))
    return top


def _add(to: argparse.ArgumentParser, arguments: Arguments) -> None:
    for one in arguments:
        if isinstance(one, Argument):
            to.add_argument(*one.names, **one.options)
            continue
        group = to.add_mutually_exclusive_group(required=one.required)
        for argument in one.arguments:
            group.add_argument(*argument.names, **argument.options)
