# SPDX-License-Identifier: Apache-2.0
"""systemd-networkd reads other .network files for the same links, without the loss of a lease.

``networkctl reload`` and a stop give leases back before the new file counts (measured with 252: a
gap of 0.2 to 2.7 s for each ENI). A process that SIGKILL ends gives nothing back. The next one finds
``KeepConfiguration=yes`` in the files of ec2net, keeps each address, and asks for the same lease.
"""

from ec2net.core.host.files import Environment
from ec2net.core.host.managers import NETWORKD_LINKS, NETWORKD_UNIT
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.command import output
from ec2net.core.runtime.deadline import Deadline

SECONDS = 15.0
"""For the new process to configure the links that the old one managed; this takes 0.1 s each."""

_PAUSE = 0.05


def restart(deadline: Deadline) -> None:
    """Raises ``CommandFailed``, or ``Ec2netError`` with the links that it does not configure."""
    managed = _configured()
    output(("systemctl", "kill", "--signal=KILL", NETWORKD_UNIT), deadline)
    output(("systemctl", "start", NETWORKD_UNIT), deadline)
    limit = deadline.within(SECONDS, "waiting for systemd-networkd")
    while missing := managed - _configured():  # ends by deadline
        if limit.expired():
            raise Ec2netError(
                f"systemd-networkd does not configure link {', '.join(sorted(missing))}"
            )
        limit.wait(seconds=_PAUSE)


def _configured() -> frozenset[str]:
    """The links, by index, that it has configured."""
    environment = Environment()
    return frozenset(
        index
        for index in environment.list_folder(NETWORKD_LINKS)
        if environment.keys(f"{NETWORKD_LINKS}/{index}").get("ADMIN_STATE") == "configured"
    )
