# SPDX-License-Identifier: Apache-2.0
"""pyroute2 without its package's start: the whole package only for a caller that needs more."""

import subprocess
import sys

PROGRAM = """
from ec2net.core.kernel import pyroute

pyroute.message_class("ifaddrmsg")
import pyroute2
assert pyroute2.IPRoute
assert not hasattr(pyroute2, "no_such_name")
"""


def test_a_missing_name_is_an_attribute_error_once_the_package_is_whole() -> None:
    """A plugin that needs a name of another version must not run the package without end."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
