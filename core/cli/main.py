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
from typing import Any, NoReturn

from ec2net import __version__
from ec2net.core.cli.grammar import COMMANDS, COMMON, JSON, Argument, Arguments
from ec2net.core.cli.output import lose_output, printable_output
from ec2net.core.cli.suggestion import no_command, suggestion
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

    def __init__(self, **options: Any) -> None:
        """Without abbreviated options: a mistyped one must not run the command."""
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """The parser that lacks an option reports it, with the one that was probably meant."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            meant = suggestion(unknown[0].partition("=")[0], known)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self.error(no_command(value, action.choices))
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        said = printable(f"ec2net: {message} (see '{self.prog} --help')")
        self.exit(ExitStatus.USAGE, f"{said}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit status of the process."""
    _have_streams()
    options = parser().parse_args(arguments)
    from ec2net.core.runtime import colour, log

    log.set_up(verbose=options.verbose)
    colour.choose(options.color)
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
        lose_output()
        return ExitStatus.FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        lose_output()
        print(f"ec2net: cannot write the output: {error.strerror}", file=sys.stderr)
        return ExitStatus.FAILED
    return status


def _have_streams() -> None:
    """Python has None for a stream whose descriptor was closed by the caller (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (it stays open)


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


def command_parsers(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name, in the order of the help."""
    action = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def _add(to: argparse.ArgumentParser, arguments: Arguments) -> None:
    for one in arguments:
        if isinstance(one, Argument):
            to.add_argument(*one.names, **one.options)
            continue
        group = to.add_mutually_exclusive_group(required=one.required)
        for argument in one.arguments:
            group.add_argument(*argument.names, **argument.options)
