# SPDX-License-Identifier: Apache-2.0
"""Let networkd read its files again: it then configures the links whose file changed, no others."""

from ec2net.core.plugins.api import Deadline, Ec2netError, run_bounded

SECONDS = 10.0
"""networkctl returns when networkd has read its files; a busy boot can make that seconds."""
RETRY_SECONDS = 2.0
"""After a reload that failed: the other ENIs of the pass wait for it."""


def reload(deadline: Deadline) -> None:
    """Raises ``Ec2netError``."""
    import subprocess

    limit = deadline.within(SECONDS, "networkctl reload")
    try:
        result = run_bounded(["networkctl", "reload"], limit)
    except FileNotFoundError as error:
        raise Ec2netError(
            "there is no networkctl", remedy="is systemd-networkd installed?"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise limit.exceeded() from error
    if result.returncode != 0:
        raise Ec2netError(
            f"networkctl reload failed: {result.stderr.strip() or result.returncode}",
            remedy="see 'systemctl status systemd-networkd'",
        )
