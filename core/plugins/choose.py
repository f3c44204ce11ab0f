# SPDX-License-Identifier: Apache-2.0
"""Which backend a link gets, and why: a pure function of the configuration and an environment."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ec2net.core.config.settings import AUTO_BACKEND, DnsDefaultRoute
from ec2net.core.decide.intent import EniIntent, HostIntent, Standing
from ec2net.core.host.files import Environment
from ec2net.core.model.errors import Ec2netError, Unsupported
from ec2net.core.model.facts import Link
from ec2net.core.model.identity import Mac
from ec2net.core.plugins.backend import Backend
from ec2net.core.plugins.guard import suits


@dataclass(frozen=True, slots=True)
class Choice:
    """``backend`` is the chosen name, None if the link is refused; ``reasons`` one per candidate."""

    backend: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.backend or 'none'}: {'; '.join(self.reasons)}"


def choose(
    configured: str, link: Link, backends: Mapping[str, type[Backend]], environment: Environment
) -> Choice:
    """The configured backend; with ``auto`` the first that says it suits the link."""
    if configured != AUTO_BACKEND:
        if configured in backends:
            return Choice(configured, (f'the configuration sets backend = "{configured}"',))
        return Choice(None, (f'backend "{configured}" is configured but not available',))
    reasons = []
    chosen = None
    for name, backend in backends.items():
        fits, reason = suits(backend, link, environment)
        reasons.append(f"{name} {'suits' if fits else 'does not suit'}: {reason}")
        if fits and chosen is None:
            chosen = name
    return Choice(chosen, tuple(reasons) or ("no backend is loaded",))


_ASKED: Mapping[str, Callable[[EniIntent], bool]] = {
    "dns_default_route": lambda intent: intent.early.dns is not DnsDefaultRoute.AUTO,
}
"""Settings that a backend may lack, and whether an ENI asks for one."""


def lacking(kind: type[Backend], intent: EniIntent) -> Iterator[str]:
    """The settings of an ENI that its backend lacks, with the reason."""
    for setting, reason in kind.lacks.items():
        if setting in _ASKED and _ASKED[setting](intent):
            yield f"{setting}: {reason}"


def unsupported(kind: type[Backend], intents: Iterable[EniIntent]) -> Iterator[Unsupported]:
    """A problem for each thing that is asked of these ENIs and their backend does not have."""
    for intent in intents:
        for lack in lacking(kind, intent):
            yield Unsupported(
                f"backend {kind.name}: {lack}",
                subject=intent.link.name,
                remedy="leave it out of the configuration for this ENI, or use another backend",
            )


def without_backend(choices: Mapping[Mac, Choice], host: HostIntent) -> tuple[Ec2netError, ...]:
    """A problem for each ENI that could be configured, if a backend would have it."""
    return tuple(
        Ec2netError(
            "no backend can manage this ENI; left unchanged: "
            f"{'; '.join(choices[eni.mac].reasons)}",
            subject=eni.name,
            remedy='choose one in the configuration: backend = "..."',
        )
        for eni in host.enis
        if eni.standing is Standing.READY
        and eni.mac in choices
        and choices[eni.mac].backend is None
    )
