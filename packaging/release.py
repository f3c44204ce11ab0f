# SPDX-License-Identifier: Apache-2.0
"""The texts of a release, from pyproject.toml, the version and the date of the last commit.

    release.py fill FOLDER     fill in the placeholders of the packages' sources in a tree;
    release.py notes FOLDER    print the changes, from CHANGELOG.md;
    release.py sbom FOLDER     print the bill of materials, from packaging/rpm/vendor.txt.

``SOURCE_DATE_EPOCH`` gives the date, in seconds. A filled tree stays unchanged.
"""

import json
import os
import re
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

FILLED = (
    "packaging/debian/changelog",
    "packaging/debian/control",
    "packaging/debian/copyright",
    "packaging/debian/upstream/metadata",
    "packaging/debian/watch",
    "packaging/man/ec2net-backends.7",
    "packaging/man/ec2net.8",
    "packaging/man/ec2net.toml.5",
    "packaging/rpm/ec2net.spec",
)
"""Files with placeholders like ``@VERSION@``."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library as PyPI names it, with its licence as an SPDX expression."""

    name: str
    version: str
    licence: str


def identity(top: Path) -> dict[str, str]:
    """The maintainer of this fork and the addresses, by placeholder. The one source is pyproject.toml."""
    told = tomllib.loads((top / "pyproject.toml").read_text())
    author = told["project"]["authors"][0]
    addresses = {name.upper(): address for name, address in told["project"]["urls"].items()}
    return {
        **addresses,
        "MAINTAINER": f"{author['name']} <{author['email']}>",
        "SECURITY": told["tool"]["ec2net"]["security-contact"],
    }


def version(top: Path) -> str:
    """The version that the source tells."""
    text = (top / "src/ec2net/__init__.py").read_text()
    found = re.search(r'^__version__ = "(.*)"$', text, flags=re.MULTILINE)
    assert found, "src/ec2net/__init__.py has no __version__"
    return found[1]


def date() -> datetime:
    """The date of the release, in UTC."""
    return datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)


def values(top: Path) -> dict[str, str]:
    """The text for each placeholder."""
    return {
        **identity(top),
        "VERSION": version(top),
        "BUNDLED": bundled(top),
        "DATE": format_datetime(date()),
        "DAY": date().strftime("%a %b %d %Y"),
        "ITEMS": items(top),
        "PUBLISHED": date().date().isoformat(),
        "LICENCES": licences(top),
    }


def libraries(top: Path) -> list[Library]:
    """The libraries in the rpm."""
    lines = (top / "packaging/rpm/vendor.txt").read_text()
    found = re.findall(r"^([\w-]+)==(\S+)  # licence: (.+)$", lines, flags=re.MULTILINE)
    return [Library(*words) for words in found]


def bundled(top: Path) -> str:
    """Lines of the spec, as Fedora's guidelines for bundled libraries want them."""
    return "\n".join(
        f"Provides:       bundled(python3dist({library.name})) = {library.version}"
        for library in libraries(top)
    )


def licences(top: Path) -> str:
    """The SPDX expression for the program with its libraries."""
    of_libraries = (one for library in libraries(top) for one in library.licence.split(" AND "))
    each = dict.fromkeys(["Apache-2.0", *of_libraries])
    return " AND ".join(f"({one})" if " OR " in one else one for one in each)


def notes(top: Path) -> str:
    """The section of CHANGELOG.md for this version, without its heading.

    Raises ``ValueError`` if the first section is for another version."""
    _, heading, rest = (top / "CHANGELOG.md").read_text().partition(f"\n## {version(top)} - ")
    if not heading:
        raise ValueError(f"CHANGELOG.md has no section for {version(top)}")
    section = rest.partition("\n## ")[0]
    return section.partition("\n")[2].strip() + "\n"


def items(top: Path) -> str:
    """The items of the notes, wrapped as in a changelog of rpm."""
    found = re.findall(r"^- (.+(?:\n  .+)*)", notes(top), flags=re.MULTILINE)
    return "\n".join(
        textwrap.fill(
            " ".join(item.split()).replace("%", "%%"),
            width=78,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in found
    )


def sbom(top: Path) -> str:
    """A CycloneDX 1.5 document: ec2net, and the libraries in the rpm and in the bundled tarball."""
    itself = Library("ec2net", version(top), "Apache-2.0")
    components = {library.name: _component(library) for library in libraries(top)}
    root = _component(itself)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": date().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**root, "type": "application"},
        },
        "components": list(components.values()),
        "dependencies": [
            {
                "ref": root["bom-ref"],
                "dependsOn": [component["bom-ref"] for component in components.values()],
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _component(library: Library) -> dict[str, Any]:
    url = f"pkg:pypi/{library.name}@{library.version}"
    return {
        "type": "library",
        "bom-ref": url,
        "name": library.name,
        "version": library.version,
        "licenses": [{"expression": library.licence}],
        "purl": url,
    }


def fill(top: Path) -> None:
    """Replace each placeholder. Raises ``KeyError`` for one that is unknown."""
    known = values(top)
    for name in FILLED:
        path = top / name
        text = re.sub(r"@([A-Z]+)@", lambda found: known[found[1]], path.read_text())
        path.write_text(text)


def main() -> None:
    verb, folder = sys.argv[1:]
    top = Path(folder)
    if verb == "fill":
        fill(top)
    else:
        sys.stdout.write({"notes": notes, "sbom": sbom}[verb](top))


if __name__ == "__main__":
    main()
