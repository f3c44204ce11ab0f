# SPDX-License-Identifier: Apache-2.0
"""Errors of the configuration, and sections of it that are for no ENI. Pure."""

from collections.abc import Iterable, Iterator

from ec2net.core.config.files import LoadedConfig, Source
from ec2net.core.config.tree import SECTIONS
from ec2net.core.decide.candidate import candidates, eni_links
from ec2net.core.doctor.finding import Check, Finding, Severity
from ec2net.core.model.errors import ConfigError
from ec2net.core.model.facts import Facts

_IN_FORCE = {
    Source.LAST_GOOD: "the last good configuration stays in force",
    Source.BUILT_IN: "the built-in settings are in force",
    Source.FILES: "an earlier configuration is in force",
}


def broken(loaded: LoadedConfig) -> Iterator[Finding]:
    for error in loaded.errors:
        yield _error(error, loaded.source)


def _error(error: ConfigError, source: Source) -> Finding:
    remedy = error.remedy or "correct the file"
    return Finding(
        Severity.ERROR,
        Check.CONFIGURATION,
        error.subject,
        f"{error.problem}; {_IN_FORCE[source]}",
        f"{remedy}; check it: ec2net config --check; then: systemctl reload ec2net.service",
    )


def unused_sections(loaded: LoadedConfig, facts: Facts) -> Iterator[Finding]:
    """Sections that match no ENI which is attached now, nor one whose facts are incomplete."""
    config = loaded.config
    enis = [one.identity() for one in candidates(facts, eni_links(facts.links, config.drivers))]
    for index, section in enumerate(config.sections):
        match = section.match
        if any(match.matches(eni) or match.may_match(eni) for eni in enis):
            continue
        origin = loaded.origins.get(f"{SECTIONS}[{index}]", "")
        yield Finding(
            Severity.NOTE,
            Check.CONFIGURATION,
            origin,
            f"section {index + 1} of [[eni]] (match: {_words(match.given)}) matches no ENI",
            "compare with: ec2net explain LINK; an ENI that is attached later may match",
        )


def _words(given: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in given) or "nothing"
