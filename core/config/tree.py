# SPDX-License-Identifier: Apache-2.0
"""Between ``Config`` and plain data: the tree that a TOML file, or a stored ``Config``, holds.

Reading collects every problem in the tree rather than stopping at the first.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, TypeAlias

from ec2net.core.config.kinds import Kind, plain, toml_key, toml_value
from ec2net.core.config.schema import (
    BUILT_IN,
    MATCH,
    SECTION_SETTINGS,
    SETTINGS,
    TABLES,
    TOP,
    Key,
)
from ec2net.core.config.settings import Config, EniSection, Match
from ec2net.core.model.errors import ConfigError

SECTIONS = "eni"
"""The key of the array of tables."""

Report: TypeAlias = Callable[[str, str], None]
"""Takes a problem and its remedy (may be empty)."""


@dataclass(slots=True)
class Settings:
    """The values of one tree: typed, by dotted key, and its sections."""

    values: dict[str, Any] = field(default_factory=dict)
    sections: list[EniSection] = field(default_factory=list)


def to_dict(config: Config) -> dict[str, Any]:
    """Plain data with every key, fit for JSON and for ``from_dict``."""
    tree: dict[str, Any] = {}
    for setting in SETTINGS.values():
        table, _, name = setting.key.rpartition(".")
        inside = tree.setdefault(table, {}) if table else tree
        inside[name] = plain(attrgetter(setting.field)(config))
    tree[SECTIONS] = [section_to_dict(section) for section in config.sections]
    return tree


def section_to_dict(section: EniSection) -> dict[str, Any]:
    """One section with the keys that it sets."""
    settings = {name: plain(value) for name, value in section.settings.items()}
    return {"match": _criteria(section.match), **settings}


def from_dict(tree: Mapping[str, Any]) -> Config:
    """The inverse of ``to_dict``. Raises ``ConfigError`` with the first problem found."""
    problems: list[ConfigError] = []
    settings = read_tree(tree, lambda *p: problems.append(ConfigError(p[0], remedy=p[1])))
    if problems:
        raise problems[0]
    return build(settings.values, settings.sections)


def build(values: Mapping[str, Any], sections: Iterable[EniSection]) -> Config:
    """A ``Config`` of typed values by dotted key; built-in ones for keys that are not there."""
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in values.items():
        part, _, name = SETTINGS[key].field.rpartition(".")
        parts[part][name] = value
    whole = parts.pop("", {})
    inner = {part: replace(getattr(BUILT_IN, part), **given) for part, given in parts.items()}
    return replace(BUILT_IN, sections=tuple(sections), **whole, **inner)


def read_tree(tree: Mapping[str, Any], report: Report) -> Settings:
    """Check a tree; what is wrong in it is reported and left out of the result."""
    settings = Settings()
    at_top = {**SECTION_SETTINGS, **TOP}
    here = [*at_top, *TABLES, SECTIONS]
    for name, value in tree.items():
        if name == SECTIONS:
            settings.sections.extend(_read_sections(value, report))
        elif name in TABLES:
            settings.values.update(_read_table(name, value, report))
        elif name in at_top:
            _take(settings.values, name, at_top[name].kind, value, name, report)
        else:
            _unknown(name, value, here, SETTINGS, "", report)
    return settings


def _read_table(table: str, value: Any, report: Report) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if not isinstance(value, dict):
        report(f"{table} = {toml_value(value)}: must be a table, [{table}]", "")
        return values
    here = [key.partition(".")[2] for key in SETTINGS if key.startswith(f"{table}.")]
    for name, inner in value.items():
        key = f"{table}.{name}"
        if name in here:
            _take(values, key, SETTINGS[key].kind, inner, key, report)
        else:
            _unknown(name, inner, here, SETTINGS, f"{table}.", report)
    return values


def _read_sections(value: Any, report: Report) -> Iterator[EniSection]:
    if not isinstance(value, list) or not all(isinstance(section, dict) for section in value):
        report(
            f"{SECTIONS} = {toml_value(value)}: must be sections, each headed [[{SECTIONS}]]", ""
        )
        return
    for number, section in enumerate(value, start=1):
        problems: list[tuple[str, str]] = []
        found = _read_section(section, lambda *p: problems.append(p))  # noqa: B023
        for problem, remedy in problems:
            report(f"[[{SECTIONS}]] {number}: {problem}", remedy)
        if not problems:
            yield found


def _read_section(section: dict[str, Any], report: Report) -> EniSection:
    values: dict[str, Any] = {}
    criteria: dict[str, Any] = {}
    known: dict[str, Key] = {
        **SECTION_SETTINGS,
        **{f"match.{key}": criterion for key, criterion in MATCH.items()},
    }
    for name, value in section.items():
        if name == "match":
            criteria = _read_match(value, known, report)
        elif name in SECTION_SETTINGS:
            _take(values, name, SECTION_SETTINGS[name].kind, value, name, report)
        else:
            _unknown(name, value, [*SECTION_SETTINGS, "match"], known, "", report)
    if not section.get("match", {}) and isinstance(section.get("match", {}), dict):
        report(f"match: must have at least one of {', '.join(MATCH)}", "")
    return EniSection(Match(**criteria), values)


def _read_match(value: Any, known: Mapping[str, object], report: Report) -> dict[str, Any]:
    criteria: dict[str, Any] = {}
    if not isinstance(value, dict):
        report(f"match = {toml_value(value)}: must be a table, such as {{ card = 1 }}", "")
        return criteria
    for name, inner in value.items():
        if name in MATCH:
            _take(criteria, name, MATCH[name].kind, inner, f"match.{name}", report)
        else:
            _unknown(name, inner, list(MATCH), known, "match.", report)
    return criteria


def _take(
    into: dict[str, Any], name: str, kind: Kind, value: Any, shown: str, report: Report
) -> None:
    try:
        into[name] = kind.parse(value)
    except ValueError:
        report(f"{shown} = {toml_value(value)}: must be {kind.allowed}", "")


def _unknown(
    name: str,
    value: Any,
    here: Collection[str],
    everywhere: Collection[str],
    prefix: str,
    report: Report,
) -> None:
    hint = _meant(name, here, everywhere, prefix)
    report(
        f"{prefix}{toml_key(name)} = {toml_value(value)}: no such setting; allowed: "
        f"{', '.join(sorted(here))}",
        f'did you mean "{hint}"?' if hint else "",
    )


def _meant(name: str, here: Collection[str], everywhere: Collection[str], prefix: str) -> str:
    """The dotted key that the user probably meant: the same word elsewhere, or a similar spelling.

    A key that is appended to a file that ends in a table lands in the wrong table.
    """
    from difflib import get_close_matches  # only when something is misspelt

    leaves = {key.rpartition(".")[2]: key for key in everywhere}
    if name in leaves:
        return leaves[name]
    # the cut bounds the work: get_close_matches is quadratic
    if near := get_close_matches(name[:64], here, n=1):
        return prefix + near[0]
    near = get_close_matches(name[:64], leaves, n=1)
    return leaves[near[0]] if near else ""


def _criteria(match: Match) -> dict[str, Any]:
    """The given values, as plain data."""
    given = {f.name: getattr(match, f.name) for f in fields(match)}
    return {f.name: plain(given[f.name]) for f in fields(match) if given[f.name] != f.default}
