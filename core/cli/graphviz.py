# SPDX-License-Identifier: Apache-2.0
"""A picture in the language DOT, drawn as SVG by dot(1) of graphviz, where that is installed."""

import subprocess

from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline

SECONDS = 30.0
"""For drawing."""

_INSTEAD = "or --dot, for something else that draws it"


def svg(dot: str) -> str:
    """The text of an SVG document. Raises ``Ec2netError`` if it cannot be drawn."""
    try:
        done = run_bounded(("dot", "-Tsvg"), Deadline(SECONDS, "dot"), given=dot)
    except FileNotFoundError as error:
        remedy = f"install the package graphviz, {_INSTEAD}"
        raise Ec2netError("dot is not installed, which draws it", remedy=remedy) from error
    except OSError as error:
        raise Ec2netError(f"dot cannot be run: {error.strerror}", remedy=_INSTEAD) from error
    except subprocess.TimeoutExpired as error:
        told = f"dot has not drawn it after {SECONDS:.0f} s"
        raise Ec2netError(told, remedy="draw one ENI, " + _INSTEAD) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise Ec2netError(f"dot failed: {why}", remedy=_INSTEAD)
    return done.stdout
