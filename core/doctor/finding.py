# SPDX-License-Identifier: Apache-2.0
"""A finding: what is wrong on the host, why, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ec2net.core.model.problem_code import Code


class Severity(StrEnum):
    """How bad it is. Only an error makes ``doctor`` end with a failure."""

    ERROR = "error"
    """Traffic of an ENI is lost, or will be."""
    WARNING = "warning"
    """Some traffic may be lost, or something will fail later."""
    NOTE = "note"
    """Information; the state may be intended."""


class Check(StrEnum):
    """The subject of a check. The values are a contract with readers of ``--json``: docs/doctor.md."""

    IMDS = "imds"
    IMDS_DISABLED = "imds-disabled"
    HOP_LIMIT = "hop-limit"
    FILTER = "filter"
    RP_FILTER = "rp-filter"
    FORWARDING = "forwarding"
    PUBLISHED_PORTS = "published-ports"
    DEFAULT_ROUTE = "default-route"
    GATEWAY = "gateway"
    LINK_DOWN = "link-down"
    UNASSIGNED_ADDRESS = "unassigned-address"
    DUPLICATE_ADDRESS = "duplicate-address"
    FOREIGN_OBJECT = "foreign-object"
    CONFLICT = "conflict"
    MTU = "mtu"
    LEASE = "lease"
    MANAGER = "manager"
    CONFIGURATION = "configuration"
    SERVICE = "service"
    UNIT_MASKED = "unit-masked"
    UNIT_FAILED = "unit-failed"
    OTHER_TOOL = "other-tool"
    ENI = "eni"
    ROUTING = "routing"
    DRIFT = "drift"
    PAUSE = "pause"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is the link, unit or tool that it is about, empty for the host."""

    severity: Severity
    check: Check
    subject: str
    cause: str
    remedy: str
    code: Code | None = None
    """The kind of the problem, for a check of several kinds."""

    @property
    def reason_code(self) -> Code | None:
        """The code with which passes report the problem; None if passes do not look for it."""
        return self.code or _CODES.get(self.check)


_CODES = {
    Check.IMDS: Code.IMDS,
    Check.IMDS_DISABLED: Code.IMDS,
    Check.CONFLICT: Code.CONFLICT,
    Check.CONFIGURATION: Code.CONFIGURATION,
    Check.OTHER_TOOL: Code.OTHER_TOOL,
    Check.PAUSE: Code.PAUSED,
}


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; findings that say the same only once."""
    severities = list(Severity)
    return tuple(sorted(dict.fromkeys(findings), key=lambda f: severities.index(f.severity)))
