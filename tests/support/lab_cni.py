# SPDX-License-Identifier: Apache-2.0
"""The CNI plugins of Debian's containernetworking-plugins, as a container runtime calls them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab_docker import joined
from lab_host import LabHost

from ec2net.core.simulation.vpc.namespace import Namespace

_PLUGINS = "/usr/lib/cni"
_BRIDGE = {
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {
        "type": "host-local",
        "subnet": "10.88.7.0/24",
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}


class Pod:
    """A network namespace of the host, to which plugins add what a configuration says."""

    def __init__(self, host: LabHost, name: str) -> None:
        self.host = host
        self.name = name
        host.run(["ip", "netns", "add", name])
        host.run(["ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"])

    def delete(self) -> None:
        self.host.run(["ip", "netns", "del", self.name])

    def call(self, verb: str, config: dict[str, Any], link: str = "eth0") -> dict[str, Any]:
        """``ADD`` or ``DEL`` of one plugin; its result."""
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.name,
            "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": link,
            "CNI_PATH": _PLUGINS,
        }
        words = [f"{key}={value}" for key, value in environment.items()]
        text = json.dumps({"cniVersion": "0.4.0", "name": "lab", **config})
        done = self.host.run(["env", *words, f"{_PLUGINS}/{config['type']}"], input=text)
        result: dict[str, Any] = json.loads(done.stdout or "{}")
        return result

    @contextmanager
    def serving(self) -> Iterator[Namespace]:
        with joined(self.host, f"cni-{self.name}", f"/run/netns/{self.name}") as namespace:
            yield namespace


@contextmanager
def bridged(host: LabHost, name: str, published: dict[int, int]) -> Iterator[tuple[Pod, str]]:
    """A pod behind the plugins bridge and portmap (``published``: host's port to the pod's), and its
    address."""
    pod = Pod(host, name)
    try:
        result = pod.call("ADD", _BRIDGE)
        ports = [
            {"hostPort": outer, "containerPort": inner, "protocol": "tcp"}
            for outer, inner in published.items()
        ]
        portmap = {
            "type": "portmap",
            "capabilities": {"portMappings": True},
            "runtimeConfig": {"portMappings": ports},
            "prevResult": result,
        }
        pod.call("ADD", portmap)
        yield pod, result["ips"][0]["address"].partition("/")[0]
        pod.call("DEL", portmap)
        pod.call("DEL", _BRIDGE)
    finally:
        pod.delete()
