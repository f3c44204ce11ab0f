# SPDX-License-Identifier: Apache-2.0
"""The manual pages, made of their sources in packaging/man and of the program itself.

``{{part}}`` in a source is replaced with the help texts or the table of settings. Run as a program
it writes the pages; a test fails while they are outdated.
"""

import argparse
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import roff

from ec2net.core.cli.main import command_parsers, parser
from ec2net.core.config.kinds import toml_value
from ec2net.core.config.schema import HOST, MATCH, PER_ENI, Key, Setting
from ec2net.core.model.errors import EXIT_MEANING

FOLDER = Path(__file__).parent / "man"
_TOP = FOLDER.parents[1]


def commands() -> dict[str, argparse.ArgumentParser]:
    """By name, in the order of the help."""
    return command_parsers(parser())


def common_options() -> list[argparse.Action]:
    """The options of every command, except ``--help``."""
    every = [{tuple(a.option_strings) for a in c._actions} for c in commands().values()]
    shared = set.intersection(*every) - {("-h", "--help")}
    first = next(iter(commands().values()))
    return [a for a in first._actions if a.option_strings and tuple(a.option_strings) in shared]


def own_arguments(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that not every command has."""
    common = {tuple(action.option_strings) for action in common_options()}
    common.add(("-h", "--help"))
    return [
        a for a in command._actions if not a.option_strings or tuple(a.option_strings) not in common
    ]


def value_name(action: argparse.Action) -> str:
    """The name of its value; empty without a value, in brackets if the value is optional."""
    name = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    return f"[{name}]" if action.option_strings and action.nargs == "?" else name


def pages() -> dict[Path, str]:
    """Each page with its content."""
    return {_target(source): _page(source) for source in sorted(FOLDER.glob("*.md"))}


def source_text(source: Path) -> str:
    """A source with its parts filled in, still Markdown."""

    def part(match: re.Match[str]) -> str:
        return PARTS[match[1]]()

    return re.sub(r"^\{\{(.+)\}\}$", part, source.read_text(), flags=re.MULTILINE)


def _target(source: Path) -> Path:
    return source.with_suffix("")


def _page(source: Path) -> str:
    name, _, section = _target(source).name.rpartition(".")
    title, _, body = source_text(source).partition("\n")
    return roff.page(body, name, int(section), title.removeprefix("# "))


def _commands() -> str:
    return "\n\n".join(
        part for name, command in commands().items() for part in _command(name, command)
    )


def _command(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    own = own_arguments(command)
    usage = " ".join([f"`ec2net {name}`", *(_in_usage(action) for action in own)])
    yield f"### {usage}\n\n{_sentence(command.description or '')}"
    yield from (_definition(a) for a in own if a.help and a.option_strings != ["--json"])
    if command.epilog:
        yield _sentence(command.epilog)


def may_be_left_out(action: argparse.Action) -> bool:
    """An argument that is not needed."""
    return bool(action.option_strings and not action.required) or action.nargs == "?"


def _in_usage(action: argparse.Action) -> str:
    words = " ".join(filter(None, [*(f"`{o}`" for o in action.option_strings[:1]), _value(action)]))
    return f"[{words}]" if may_be_left_out(action) else words


def _value(action: argparse.Action) -> str:
    return re.sub(r"[\w-]+", r"*\g<0>*", value_name(action))


def _definition(action: argparse.Action) -> str:
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    term = " ".join(filter(None, [names, _value(action)]))
    meaning = (action.help or "") % {"default": action.default}
    return f"{term}\n: {_sentence(meaning)}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def _statuses() -> str:
    return "\n\n".join(f"{int(s)}\n: {_sentence(text)}" for s, text in EXIT_MEANING.items())


def _settings(keys: Iterable[Key]) -> str:
    return "\n\n".join(_setting(key) for key in keys)


def _setting(key: Key) -> str:
    default = f" Default: `{toml_value(key.default)}`." if isinstance(key, Setting) else ""
    return f"`{key.key}`\n: {key.meaning} Allowed: {key.kind.allowed}.{default}"


def _section(document: str, title: str) -> str:
    """A section of a document, in the Markdown of our pages: blocks of code are indented."""
    text = (_TOP / document).read_text()
    _, _, rest = text.partition(f"\n## {title}\n")
    body = rest.partition("\n## ")[0]
    assert body, f"{document} has no section {title}"
    body = re.sub(r"^<!-- .* -->\n", "", body, flags=re.MULTILINE)
    body = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", body)
    fenced = re.compile(r"^```\w*\n(.*?)\n```$", flags=re.DOTALL | re.MULTILINE)
    return fenced.sub(lambda block: textwrap.indent(block[1], "    "), body).strip("\n")


def _first_step(title: str) -> str:
    """Its commands are run by a test."""
    return _section("docs/first-steps.md", title)


def _diagnostics() -> str:
    """The messages of docs/troubleshooting.md as definitions: what each means, and the remedy."""
    rows = re.findall(
        r"^\| (`[^|]+) \| ([^|]+) \| ([^|]+) \|$",
        _section("docs/troubleshooting.md", "Messages"),
        flags=re.MULTILINE,
    )
    assert len(rows) > 10
    return "\n\n".join(
        f"{message}\n: {_sentence(cause)} Remedy: {remedy.rstrip('.')}."
        for message, cause, remedy in rows
    )


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "json": lambda: _definition(
        next(a for a in commands()["status"]._actions if "--json" in a.option_strings)
    ),
    "common options": lambda: "\n\n".join(map(_definition, common_options())),
    "exit statuses": _statuses,
    "settings of an ENI": lambda: _settings(PER_ENI),
    "settings of the host": lambda: _settings(HOST),
    "criteria": lambda: _settings(MATCH.values()),
    "see the state of each ENI": lambda: _first_step("See the state of each ENI"),
    "choose the backend of an ENI": lambda: _first_step("Choose the backend of an ENI"),
    "leave an ENI unmanaged": lambda: _first_step("Leave an ENI unmanaged"),
    "find out why an address is unreachable": lambda: _first_step(
        "Find out why an address is unreachable"
    ),
    "messages": _diagnostics,
    "uninstall": lambda: _first_step("Uninstall"),
    "hooks": lambda: _section("docs/plugins.md", "Hooks"),
    "rules and example of a backend": lambda: _section("docs/plugins.md", "Backends"),
    "verbs of a backend": lambda: _section("docs/plugin-interface.md", "Verbs of a backend"),
    "installation of a backend": lambda: _first_step("Write a backend"),
}


def main() -> None:
    """Write the pages."""
    for path, content in pages().items():
        path.write_text(content)


if __name__ == "__main__":
    main()
