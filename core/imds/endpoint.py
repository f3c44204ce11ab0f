# SPDX-License-Identifier: Apache-2.0
"""The possible ways to IMDS: endpoints and the links to them, in order of preference.

IMDS is link-local, so every ENI reaches it. The routes decide which ENI does, and they may be
broken just now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from ec2net.core.model.errors import UsageError

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
MODE_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"

HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and TCP port that speak IMDS over plain HTTP."""

    address: IPv4Address | IPv6Address
    port: int = HTTP_PORT

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Read ``http://ADDRESS[:PORT][/]``; raises ``ValueError``.

        Host names are refused: looking them up is a wait that no deadline bounds.
        """
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise ValueError("only http is supported")
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("only an address and a port may follow http://")
        address = ip_address(parts.hostname or "")
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise ValueError("an address with a zone is not supported")
        port = HTTP_PORT if parts.port is None else parts.port
        if port == 0:
            raise ValueError("port 0 is not a port")
        return cls(address, port)

    def __str__(self) -> str:
        """As in a URL: ``169.254.169.254``, ``[fd00:ec2::254]``, ``127.0.0.1:8080``."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return host if self.port == HTTP_PORT else f"{host}:{self.port}"


IPV4_ENDPOINT = Endpoint(IPv4Address("169.254.169.254"))
IPV6_ENDPOINT = Endpoint(IPv6Address("fd00:ec2::254"))
"""AWS, "Instance metadata": fd00:ec2::254 answers on Nitro instances in subnets with IPv6."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint and the link to reach it by (SO_BINDTODEVICE); "" leaves it to the routes."""

    endpoint: Endpoint
    device: str = ""

    def __str__(self) -> str:
        return f"{self.endpoint} via {self.device}" if self.device else str(self.endpoint)


def endpoints(environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints to try, by the variables that AWS's SDKs know; empty ones count as unset.

    Raises ``UsageError`` for a value that is not allowed.
    """
    if url := environ.get(ENDPOINT_VARIABLE, ""):
        try:
            return (Endpoint.parse(url),)
        except ValueError as error:
            raise UsageError(
                f"{url[:100]!r} is not allowed: {error}",
                subject=ENDPOINT_VARIABLE,
                remedy="allowed: http://ADDRESS[:PORT], such as http://169.254.169.254 or "
                "http://[fd00:ec2::254]",
            ) from error
    mode = environ.get(MODE_VARIABLE, "")
    if not mode:
        return (IPV4_ENDPOINT, IPV6_ENDPOINT)
    try:
        return ({"ipv4": IPV4_ENDPOINT, "ipv6": IPV6_ENDPOINT}[mode.lower()],)
    except KeyError:
        raise UsageError(
            f"{mode[:100]!r} is not allowed", subject=MODE_VARIABLE, remedy="allowed: IPv4, IPv6"
        ) from None


def candidates(
    to: Iterable[Endpoint], *, link: str = "", others: Iterable[str] = ()
) -> tuple[Candidate, ...]:
    """Every endpoint by the default route, by ``link`` (being started, if any), by ``others``."""
    devices = dict.fromkeys(("", link, *others))
    found = tuple(to)
    return tuple(Candidate(endpoint, device) for device in devices for endpoint in found)
