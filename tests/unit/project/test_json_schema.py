# SPDX-License-Identifier: Apache-2.0
"""The schema of --json's output: it has every command, is closed, and rejects wrong documents."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import json_schema
import pytest
from manual import commands
from other_tools_host import WHOLE
from other_tools_host import host as bare_host

from ec2net.core.cli.commands import migrate
from ec2net.core.cli.main import main
from ec2net.core.config.files import Source
from ec2net.core.config.settings import Manage
from ec2net.core.decide.intent import Standing
from ec2net.core.doctor.finding import Check, Severity
from ec2net.core.host.files import Environment
from ec2net.core.model.identity import Attached
from ec2net.core.model.plan import Action
from ec2net.core.report.eni_state import State

SCHEMA = json_schema.load()
DEFINITIONS = SCHEMA["$defs"]
WITH_JSON = [
    name
    for name, command in commands().items()
    if any("--json" in action.option_strings for action in command._actions)
]


def test_every_command_with_json_has_a_schema() -> None:
    assert len(WITH_JSON) > 8
    assert set(WITH_JSON) <= DEFINITIONS.keys()
    for name in WITH_JSON:
        (version,) = {p for p in resolved(name)["properties"] if p == "version"}
        assert version in resolved(name)["required"]


def resolved(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DEFINITIONS[name]
    while "$ref" in found:
        found = DEFINITIONS[found["$ref"].rpartition("/")[2]]
    return found


def objects(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object in it, and where it is."""
    if isinstance(schema, dict):
        if "object" in str(schema.get("type", "")):
            yield at, schema
        for key, inner in schema.items():
            yield from objects(inner, f"{at}/{key}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from objects(inner, f"{at}/{number}")


def test_an_added_key_must_be_in_the_schema() -> None:
    """All objects are closed except those marked open, and every key in them is required."""
    found = dict(objects(SCHEMA))
    assert len(found) > 20
    for at, schema in found.items():
        if "properties" in schema:
            assert schema["additionalProperties"] is False, at
            assert sorted(schema["required"]) == sorted(schema["properties"]), at
        elif "additionalProperties" not in schema:
            assert "not for programs" in schema["description"], at


def test_every_key_has_its_meaning() -> None:
    for at, schema in objects(SCHEMA):
        for key, value in schema.get("properties", {}).items():
            assert value.get("description"), f"{at}/{key}"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("eni/properties/standing", [s.value for s in Standing]),
        ("eni/properties/attached", [*(a.value for a in Attached), None]),
        ("intent/properties/manage", [m.value for m in Manage if m is not Manage.IGNORE]),
        ("change/properties/action", [a.name.lower() for a in Action]),
        ("illness/properties/severity", list(Severity)),
        ("illness/properties/check", list(Check)),
        ("config/properties/source", list(Source)),
        ("resident/properties/enis/items/properties/state", [s.value for s in State]),
    ],
)
def test_the_words_of_an_enumeration_match_the_program(place: str, words: list[str]) -> None:
    schema: dict[str, Any] = DEFINITIONS
    for part in place.split("/"):
        schema = schema[part]
    assert sorted(schema["enum"], key=str) == sorted(map(plain, words), key=str)


def plain(word: object) -> object:
    return word if word is None else str(word)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    status = main([*arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert json_schema.wrong_in(document, arguments[0]) == []
    return status, document


@pytest.mark.parametrize("what", ["--check", "--show"])
def test_valid_and_broken_configurations_obey_the_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    file = tmp_path / "etc/ec2net/ec2net.toml"
    file.parent.mkdir(parents=True)
    arguments = ("config", what, "--config-root", str(tmp_path), "--run-dir", str(tmp_path))
    file.write_text('[[eni]]\nmatch = { role = "secondary", device = 1 }\nmtu = 1500\n')
    status, document = printed(capsys, *arguments)
    assert (status, document["source"], document["errors"]) == (0, "files", [])
    file.write_text('mtu = "huge"\n')
    status, document = printed(capsys, *arguments)
    assert (status, document["source"], len(document["errors"])) == (2, "built-in", 1)


@pytest.mark.parametrize(("host", "steps"), [(WHOLE, 15), (bare_host(), 0)])
@pytest.mark.parametrize("tool", [("--from", "amazon-ec2-net-utils"), ()])
def test_a_migration_and_an_empty_one_obey_the_schema(
    host: Environment,
    steps: int,
    tool: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(migrate, "Environment", lambda: host)
    status, document = printed(capsys, "migrate", *tool)
    assert (status, len(document["steps"])) == (0, steps)
    assert next(len(one["steps"]) for one in document["tools"]) == steps


@pytest.mark.parametrize(
    ("path", "value", "wrong"),
    [
        (("new",), 1, ": new is not in the schema"),
        (("version",), 2, ".version: 2 is not 1"),
        (("held", "06:00:00:00:00:01", "new"), 1, ".held.06:00:00:00:00:01: new is not in"),
        (("changes", 0, "new"), 1, ".changes[0]: new is not in the schema"),
        (("changes", 0, "eni"), 1, ".changes[0].eni: 1 is no string or null"),
        (("enis", 0, "standing"), "odd", ".enis[0].standing: 'odd' is none of"),
    ],
)
def test_the_schema_rejects_wrong_documents(path: tuple[Any, ...], value: Any, wrong: str) -> None:
    good: dict[str, Any] = {
        "version": 1,
        "changes": [
            dict.fromkeys(("kind", "text"), "") | {"action": "add", "eni": None, "before": None}
        ],
        "conflicts": [],
        "enis": [
            dict.fromkeys(("eni_id", "link", "attached", "intent"))
            | {"mac": "06:00:00:00:00:01", "standing": "planned", "reason": ""}
        ],
        "held": {
            "06:00:00:00:00:01": {"since": "2026-11-22T06:59:57Z", "reason": "", "changes": []}
        },
        "pause": None,
        "problems": [],
        "warnings": [],
    }
    good["changes"][0]["item"] = {"anything": 1}
    assert json_schema.wrong_in(good, "plan") == []
    bad = copy.deepcopy(good)
    inside: Any = bad
    for part in path[:-1]:
        inside = inside[part]
    inside[path[-1]] = value
    (found,) = json_schema.wrong_in(bad, "plan")
    assert found.startswith(wrong)
