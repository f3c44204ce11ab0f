# SPDX-License-Identifier: Apache-2.0
"""A faulty program may do anything, and tests may run as root: confine the process of tests."""

import subprocess

from ec2net.core.simulation.vpc import sandbox

_READ_ONLY = ("/etc", "/usr", "/boot")


def confine() -> None:
    """Enter new namespaces: no link, no daemon and no file of the host is reachable.

    Raises ``Ec2netError`` where the kernel does not allow it.
    """
    sandbox.enter()
    for folder in _READ_ONLY:
        subprocess.run(["mount", "-o", "bind,ro", folder, folder], check=True, timeout=10)
