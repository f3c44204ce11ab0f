# SPDX-License-Identifier: Apache-2.0
"""The one family of expected errors: each says what happened, to which ENI or link, and the remedy.

The command line prints these as one line and ends with their ``exit_status``; anything
else that is raised is a bug and shows its traceback.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ec2net.core.model.identity import Mac


class ExitStatus(IntEnum):
    """Exit statuses of every command (a contract with units and monitoring)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    LINK_GONE = 3
    DRIFT = 4


EXIT_MEANING = {
    ExitStatus.DONE: "done; for `verify`: everything is configured as intended",
    ExitStatus.FAILED: "failed, or done only in part: the messages say what failed and why; for"
    " `doctor`: doctor found errors, not only warnings",
    ExitStatus.USAGE: "wrong usage or configuration",
    ExitStatus.LINK_GONE: "for `start`: the link did not appear in time, or disappeared; for `remove`: there is no such link",
    ExitStatus.DRIFT: "for `verify`: something is not configured as intended; for `plan --exit-code`: a refresh would change"
    " something",
}
"""The meaning of each status, in the words of the documents."""


class Ec2netError(Exception):
    """An expected failure.

    ``subject`` is the ENI, link or file it is about (may be empty), ``remedy`` what a
    person can do about it (may be empty).
    """

    exit_status = ExitStatus.FAILED

    def __init__(self, problem: str, *, subject: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.subject = subject
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.subject}: {self.problem}" if self.subject else self.problem
        return f"{text} ({self.remedy})" if self.remedy else text


class UsageError(Ec2netError):
    """A wrong argument: nothing was read, nothing was changed."""

    exit_status = ExitStatus.USAGE


class ConfigError(Ec2netError):
    """A configuration file that cannot be used; names file, key and what is allowed."""

    exit_status = ExitStatus.USAGE


class DoubleManagement(Ec2netError):
    """Another tool configures ENIs as well: nothing of these is changed. ``subject`` is the tool."""

    def __init__(self, problem: str, macs: "frozenset[Mac]", *, subject: str, remedy: str) -> None:
        super().__init__(problem, subject=subject, remedy=remedy)
        self.macs = macs


class SharedTables(Ec2netError):
    """Another program uses tables that ec2net keeps for ENIs. ``subject`` is the program, ``macs``
    are the ENIs with these tables, and nothing has failed."""

    def __init__(self, problem: str, macs: "frozenset[Mac]", *, subject: str, remedy: str) -> None:
        super().__init__(problem, subject=subject, remedy=remedy)
        self.macs = macs


class Unsupported(Ec2netError):
    """The configuration asks for something that the ENI's backend does not have."""


class LinkGone(Ec2netError):
    """The link is not there (any more): never came, was deleted or moved to another namespace."""

    exit_status = ExitStatus.LINK_GONE


class DeadlineExceeded(Ec2netError):
    """The operation's deadline has passed."""


class NotYet(Ec2netError):
    """A network manager has not finished something, such as a lease: retry later."""


class Stopped(Ec2netError):
    """SIGTERM or SIGINT arrived before the first change."""


class ImdsError(Ec2netError):
    """IMDS could not be used at all (no endpoint answers, or it is disabled)."""


class KernelError(Ec2netError):
    """The kernel refused a request; ``errno`` is its answer (0: not known)."""

    def __init__(
        self, problem: str, *, subject: str = "", remedy: str = "", errno: int = 0
    ) -> None:
        super().__init__(problem, subject=subject, remedy=remedy)
        self.errno = errno


class StateError(Ec2netError):
    """The state directory cannot be read or written (full, read-only, no permission)."""


class PluginError(Ec2netError):
    """A plugin is missing, misspelt or broke its contract; names the plugin and the hook."""


def in_one_line(error: BaseException) -> str:
    """The text of an exception from third-party code, for people."""
    return " ".join(f"{type(error).__name__}: {error}".split())


PLUGIN_FAULTS = (Exception, SystemExit)
"""The exceptions that third-party code may raise. A module that misses another one may call
``sys.exit``, and so may the code of a command that is called as a function."""
