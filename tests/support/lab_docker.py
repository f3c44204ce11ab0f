# SPDX-License-Identifier: Apache-2.0
"""The real Docker or Podman on a lab host, with containers that answer as the echo service does."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network

from lab_host import LabHost

from ec2net.core.simulation.vpc.echo import EchoService
from ec2net.core.simulation.vpc.namespace import Namespace

PUBLISHED = 8080
"""The port of the host that leads to the container's service."""

_IMAGE = (
    "set -e; mkdir -p /tmp/image/bin; cp /bin/busybox /tmp/image/bin/;"
    " tar -C /tmp/image -c . | {command} import - box"
)


@contextmanager
def joined(host: LabHost, name: str, inside: str) -> Iterator[Namespace]:
    """The network namespace that the path ``inside`` of the host names, in which the echo service
    listens."""
    namespace = Namespace(name)
    namespace.path.touch()
    source = f"/proc/{host.leader}/root{inside}"
    subprocess.run(["mount", "--bind", source, namespace.path], check=True, timeout=60)
    try:
        with closing(EchoService()) as service:
            service.listen(namespace)
            yield namespace
    finally:
        namespace.delete()


class Docker:
    """``dockerd``, started, with an image of busybox."""

    command = "docker"

    def __init__(self, host: LabHost) -> None:
        self.host = host
        host.run(["sh", "-c", _IMAGE.format(command=self.command)], timeout=120)

    def run(self, name: str, *options: str) -> None:
        """A container that does nothing; ``serving`` lets it answer."""
        command = ["run", "--detach", f"--name={name}", *options, "box", "busybox", "sleep", "1d"]
        self._docker(*command)

    @contextmanager
    def serving(self, name: str) -> Iterator[tuple[Namespace, str]]:
        """The network namespace of a container, in which the echo service listens, and its IPv4."""
        (seen,) = json.loads(self._docker("inspect", name))
        (network,) = seen["NetworkSettings"]["Networks"].values()
        assert network["IPAddress"], seen["State"]
        # Read the host's own procfs, since a process has another number outside.
        inside = f"/proc/{seen['State']['Pid']}/ns/net"
        with joined(self.host, f"{self.command}-{name}", inside) as namespace:
            yield namespace, network["IPAddress"]

    def runs(self, name: str) -> bool:
        command = [self.command, "inspect", "--format={{.State.Running}}", name]
        return self.host.run(command, check=False).stdout == "true\n"

    def network(self, name: str) -> IPv4Network:
        """A new network; the subnet that Docker has chosen."""
        self._docker("network", "create", name)
        (seen,) = json.loads(self._docker("network", "inspect", name))
        return IPv4Network(seen["IPAM"]["Config"][0]["Subnet"])

    def _docker(self, *words: str) -> str:
        return self.host.run([self.command, *words], timeout=60).stdout


class Podman(Docker):
    """Podman, which has no daemon."""

    command = "podman"
