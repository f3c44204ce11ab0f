# SPDX-License-Identifier: Apache-2.0
"""The texts of a release, from pyproject.toml, the version and the date of the last commit.

    release.py fill FOLDER    fill in the placeholders of the packages' sources in a tree

``SOURCE_DATE_EPOCH`` gives the date, in seconds. A filled tree stays unchanged.
"""

import os
import re
import sys
import tomllib
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

FILLED = (
    "packaging/debian/changelog",
    "packaging/debian/control",
    "packaging/debian/copyright",
    "packaging/rpm/ec2net.spec",
)
"""Files with placeholders like ``@VERSION@``."""


def identity(top: Path) -> dict[str, str]:
    """Who maintains this fork and where, by placeholder. The one source is pyproject.toml."""
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
    """What stands for each placeholder."""
    return {
        **identity(top),
        "VERSION": version(top),
        "BUNDLED": bundled(top),
        "DATE": format_datetime(date()),
    }


def libraries(top: Path) -> dict[str, str]:
    """The version of each library that the rpm contains, by name."""
    lines = (top / "packaging/rpm/vendor.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def bundled(top: Path) -> str:
    """Lines of the spec, as Fedora's guidelines for bundled libraries want them."""
    return "\n".join(
        f"Provides:       bundled(python3dist({name})) = {number}"
        for name, number in libraries(top).items()
    )


def fill(top: Path) -> None:
    """Replace each placeholder. Raises ``KeyError`` for one that is unknown."""
    known = values(top)
    for name in FILLED:
        path = top / name
        text = re.sub(r"@([A-Z]+)@", lambda found: known[found[1]], path.read_text())
        path.write_text(text)


def main() -> None:
    verb, folder = sys.argv[1:]
    {"fill": fill}[verb](Path(folder))


if __name__ == "__main__":
    main()
