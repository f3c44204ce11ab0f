# SPDX-License-Identifier: Apache-2.0
"""``ec2net support [FILE]``: one archive for a bug report. Changes nothing else.

Each part is what a command prints, so nothing is in the archive that its owner cannot read before.
"""

import io
import os
import platform
import sys
import tarfile
import time
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path

from ec2net import __version__
from ec2net.core.model.errors import Ec2netError, ExitStatus
from ec2net.core.record.redact import redacted
from ec2net.core.runtime import files
from ec2net.core.runtime.command import CommandFailed, output
from ec2net.core.runtime.deadline import Deadline

SECONDS = 10.0
"""For each program that is run, and for writing the archive."""

_PARTS: dict[str, tuple[str, ...]] = {
    "record": ("record",),
    "status.txt": ("status",),
    "doctor.txt": ("doctor",),
    "verify.txt": ("verify",),
    "plan.txt": ("plan",),
    "backends.txt": ("backends",),
    "config.txt": ("config", "--show"),
}
"""The files of the archive, each with the command that it is the output of."""

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "journal.txt": (
        *("journalctl", "--boot", "--no-pager", "--output=short-iso", "--lines=5000"),
        "--unit=ec2net*",
    ),
    "rules.txt": ("ip", "rule"),
    "rules6.txt": ("ip", "-6", "rule"),
}

_BETWEEN = "\0"
"""Between parts while all are redacted at once: an id has the same substitute in each."""


def run(options: Namespace) -> ExitStatus:
    path: Path = options.output or Path(f"ec2net-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    parts = {name: _said(words, options) for name, words in _PARTS.items()}
    parts |= {name: _printed(words) for name, words in _PROGRAMS.items()}
    parts["versions.txt"] = _versions()
    if options.redact:
        whole = redacted(_BETWEEN.join(text.replace(_BETWEEN, "") for text in parts.values()))
        parts = dict(zip(parts, whole.split(_BETWEEN), strict=True))
    try:
        files.write(path, _archive(parts), Deadline(SECONDS, f"writing {path}"))
    except OSError as error:
        raise Ec2netError(f"cannot be written: {error.strerror}", subject=str(path)) from error
    print(f"{path} has {', '.join(parts)}: read it before you send it.")
    return ExitStatus.DONE


def _said(words: tuple[str, ...], options: Namespace) -> str:
    """The output of a command, and its exit status."""
    from ec2net.core.cli.main import main

    places = ("--run-dir", str(options.run_dir), "--config-root", str(options.config_root))
    command, *rest = words
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text if command != "record" else sys.stderr):
        status = main((command, *places, *rest))
    end = "" if command == "record" else f"exit status {status}\n"
    return f"{text.getvalue()}{end}"


def _printed(words: tuple[str, ...]) -> str:
    try:
        return output(words, Deadline(SECONDS, words[0]))
    except CommandFailed as error:
        return f"{error}\n"


def _versions() -> str:
    lines = [f"ec2net {__version__}", f"Python {platform.python_version()}"]
    lines.append(f"Linux {os.uname().release} {os.uname().machine}")
    for name in ("pluggy", "requests", "pyroute2", "dbus-next"):
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} has no metadata")
    lines.append(_printed(("systemctl", "--version")).partition("\n")[0])
    try:
        lines.append(Path("/etc/os-release").read_text())
    except OSError:
        lines.append("no /etc/os-release")
    return "\n".join(lines)


def _archive(parts: dict[str, str]) -> bytes:
    """A tar archive with gzip; only its owner may read the files in it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in parts.items():
            data = text.encode(errors="backslashreplace")
            entry = tarfile.TarInfo(f"ec2net-support/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    return written.getvalue()
