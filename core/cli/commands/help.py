# SPDX-License-Identifier: Apache-2.0
"""``ec2net help [COMMAND]``: what ``--help`` prints, as people know it from git."""

from argparse import Namespace

from ec2net.core.cli.main import command_parsers, parser
from ec2net.core.cli.suggestion import no_command
from ec2net.core.model.errors import ExitStatus, UsageError


def run(options: Namespace) -> ExitStatus:
    top = parser()
    if options.about is None:
        print(top.format_help(), end="")
        return ExitStatus.DONE
    commands = command_parsers(top)
    if options.about not in commands:
        raise UsageError(no_command(options.about, commands), remedy="run 'ec2net help'")
    print(commands[options.about].format_help(), end="")
    return ExitStatus.DONE
