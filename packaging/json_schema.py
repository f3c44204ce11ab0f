# SPDX-License-Identifier: Apache-2.0
"""What of JSON Schema our schemas use: whether a document obeys one, and one as a table. Pure."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


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
        for key, item in value.items():
            wrong += violations(
                item, schema.get("properties", {}).get(key, {}), root, f"{at}.{key}"
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
    found = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def rows(
    schema: dict[str, Any], root: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Path, type and meaning of each key, in the schema's order."""
    for key, one in schema.get("properties", {}).items():
        where = f"{path}{key}"
        inner, kind = one, _kind(one, root)
        for alternative in one.get("anyOf", ()):
            inner = alternative if "$ref" in alternative else inner
        inner = _resolved(inner, root) if "$ref" in inner else inner
        yield where, kind, one.get("description", "")
        if inner.get("type") == "array":
            item = inner["items"]
            inner = _resolved(item, root) if "$ref" in item else item
            where += "[]"
        yield from rows(inner, root, f"{where}.")


def _kind(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "a time" if name == "time" else _kind(_resolved(schema, root), root)
    if "anyOf" in schema:
        return " or ".join(sorted({_kind(one, root) for one in schema["anyOf"]}, key="null".__eq__))
    if "const" in schema or "enum" in schema:
        return " or ".join(
            repr(w).replace("'", '"').replace("None", "null")
            for w in schema.get("enum", [schema.get("const")])
        )
    if schema["type"] == "array":
        return f"array of {_kind(schema['items'], root)}s"
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(names)
