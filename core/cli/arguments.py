# SPDX-License-Identifier: Apache-2.0
"""Parsed values of the command line."""

from ec2net.core.model.errors import UsageError
from ec2net.core.model.identity import parse_link_name


def link_argument(text: str) -> str:
    """A link name from the command line. Raises ``UsageError``."""
    try:
        return parse_link_name(text)
    except ValueError as error:
        raise UsageError(str(error), remedy="run 'ip link' to see the names") from error
