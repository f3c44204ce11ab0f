# SPDX-License-Identifier: Apache-2.0
"""What of JSON Schema our schema uses: whether a document obeys it, and it as tables."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[1] / "docs/json.schema.json"

_TOLD = 8
"""An enumeration of more words is in the schema only."""

_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def load() -> dict[str, Any]:
    """The schema of all documents; that of a command's is the definition of its name."""
    schema: dict[str, Any] = json.loads(_FILE.read_text())
    return schema


def wrong_in(document: Any, command: str) -> list[str]:
    """Where what ``command`` printed is not as the schema says."""
    schema = load()
    return violations(document, schema["$defs"][command], schema)


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """Where ``value`` is not as ``schema`` says, and why. ``root`` has the ``$defs``."""
    if "$ref" in schema:
        return violations(value, _resolved(schema, root), root, at)
    if "anyOf" in schema:
        tried = [violations(value, one, root, at) for one in schema["anyOf"]]
        return [] if [] in tried else tried[-1]
    wrong = list(_own(value, schema, at))
    if isinstance(value, list):
        for number, item in enumerate(value):
            wrong += violations(item, schema.get("items", {}), root, f"{at}[{number}]")
    if isinstance(value, dict):
        more = schema.get("additionalProperties") or {}
        for key, item in value.items():
            wrong += violations(
                item, schema.get("properties", {}).get(key, more), root, f"{at}.{key}"
            )
    return wrong


def _own(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if type(value) not in [kind for name in names for kind in _TYPES[name]]:
            yield f"{at}: {value!r} is no {' or '.join(names)}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} is not as {schema['pattern']}"
    if isinstance(value, dict):
        yield from (f"{at}: no {key}" for key in schema.get("required", ()) if key not in value)
        if schema.get("additionalProperties") is False:
            unknown = value.keys() - schema["properties"].keys()
            yield from (f"{at}: {key} is not in the schema" for key in sorted(unknown))


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:  # ends where no reference leads on
        schema = _target(schema, root)
    return schema


def _target(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def rows(
    schema: dict[str, Any],
    root: dict[str, Any],
    path: str = "",
    shown: dict[str, str] | None = None,
) -> Iterator[tuple[str, str, str]]:
    """Path, type and meaning of each key, in the schema's order.

    ``shown``: by name, the first path of each definition whose keys are listed; they are not repeated,
    and the definitions listed here are added.
    """
    shown = {} if shown is None else shown
    for key, one in _resolved(schema, root).get("properties", {}).items():
        where = f"{path}{key}"
        name, inner, mark = _inside(one, root)
        text, there = one.get("description", ""), shown.get(name)
        keys = inner.get("properties")
        again = f" Its keys are those of {there}." if keys and there else ""
        yield where, _kind(one, root), f"{text}{again}"
        if keys and not there:
            if name:
                shown[name] = f"`{where}{mark}`"
            yield from rows(inner, root, f"{where}{mark}.", shown)


def _inside(schema: dict[str, Any], root: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
    """What a value consists of: the name of its definition, that, and a mark for many of them."""
    mark = ""
    for alternative in schema.get("anyOf", ()):
        schema = alternative if "$ref" in alternative else schema
    name = schema.get("$ref", "")
    schema = _resolved(schema, root)
    if schema.get("type") == "array":
        inner, mark = schema["items"], "[]"
    elif isinstance(schema.get("additionalProperties"), dict):
        inner, mark = schema["additionalProperties"], ".*"
    else:
        return name, schema, mark
    return inner.get("$ref", ""), _resolved(inner, root), mark


def _kind(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "$ref" in schema:
        is_time = schema["$ref"].endswith("/time")
        return "a time" if is_time else _kind(_target(schema, root), root)
    if "anyOf" in schema:
        return " or ".join(sorted({_kind(one, root) for one in schema["anyOf"]}, key="null".__eq__))
    if "const" in schema or "enum" in schema:
        words = schema.get("enum", [schema.get("const")])
        if len(words) > _TOLD:
            return "string"
        return " or ".join(repr(w).replace("'", '"').replace("None", "null") for w in words)
    if "type" not in schema:
        return "any"
    if schema["type"] == "array":
        return f"array of {_kind(schema['items'], root)}s"
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(names)
