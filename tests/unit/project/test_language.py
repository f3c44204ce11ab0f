# SPDX-License-Identifier: Apache-2.0
"""The language of what users read first, by the rules in tests/language.toml."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from ec2net.core.cli.grammar import COMMANDS, COMMON, OneOf
from ec2net.core.config.schema import HOST, MATCH, SECTION_SETTINGS

TOP = Path(__file__).resolve().parents[3]
RULES = tomllib.loads((TOP / "tests/language.toml").read_text())
MANUAL = sorted(str(p.relative_to(TOP)) for p in TOP.glob("packaging/man/*.md"))
PAGES = sorted(str(p.relative_to(TOP)) for p in TOP.glob("docs/*.md"))
DOCUMENTS = [*sorted(p.name for p in TOP.glob("*.md")), *PAGES, *MANUAL]
WORDS = {**RULES["banned"], **RULES["terms"]}
OLD = (
    "make every ENI as IMDS describes it, beside what somebody else configures",
    "Of an ENI that another one of these is at work on nothing is changed.",
    "The resident manager (process 72) is at work.",
    "tell the story of a link or an address: tells the story",
    "What others take away is repaired, but not without end, told once",
    "So these rules are wanted.",
    "Who manages a link is asked to.",
    "It was made again by nobody.",
    "The daemon looks at IMDS every minute.",
    "An ENI that is ready leaves the list when the ENI comes again.",
    (
        "Removal takes nothing off the network, and what is configured stays until the next boot, and"
        " then there is nothing of it left on the host at all for anyone to find."
    ),
)
"""Earlier sentences of the program; each breaks a rule."""

OLD_NAMES = (
    "who is left alone",
    "what was taken away is told once and explained",
    "a manager looks again when an ENI comes",
    "a rule of ours is none of theirs",
    "whoever stalls holds nobody up",
)
"""Earlier names of tests; each breaks a rule."""

SHORT = 3
"""A text with at most so many words is a name or a command, not a sentence."""


def wrong_in(sentence: str) -> list[str]:
    """The rules that a sentence breaks, each with a better word."""
    if sentence in RULES["exceptions"]:
        return []
    words = sentence.split()
    wrong = banned(sentence, WORDS)
    if words and words[0] in RULES["openings"] and not sentence.endswith("?"):
        wrong.append(f"opens with {words[0]!r}")
    if len(words) > RULES["longest_sentence"]:
        wrong.append(f"has {len(words)} words")
    return wrong


def banned(sentence: str, words: Mapping[str, str]) -> list[str]:
    """The rules on words that a sentence breaks; a word may begin the sentence."""
    if not _any_of(tuple(words)).search(sentence):
        return []
    forms = (sentence, sentence[:1].lower() + sentence[1:])
    return [
        f"{pattern}: {better}"
        for pattern, better in words.items()
        if any(re.search(rf"\b(?:{pattern})\b", form) for form in forms)
    ]


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a text; a question, a colon and a table's cell end one, too."""
    plain = re.sub(r"`[^`]*`|\([^)]*\)|<[^>]*>", "X", text)
    return [one.strip() for one in re.split(r"(?<=[.!?:;])\s+", plain) if one.strip()]


def prose(document: str) -> Iterator[str]:
    """Paragraphs, items and cells of a Markdown document, without its samples."""
    sample = r"^    .*$" if document in MANUAL else r"(?s:^```.*?^```$)"
    text = re.sub(sample, "", (TOP / document).read_text(), flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|<!--.*?-->", "]", text)
    for block in re.split(r"\n\s*\n|^- |^: ", text, flags=re.MULTILINE):
        if "\n|" in f"\n{block}":
            for row in block.splitlines():
                yield from (cell.strip() for cell in re.split(r"(?<!\\)\|", row) if cell.strip())
        else:
            yield " ".join(block.split())


def described() -> Iterator[str]:
    """The text of the help and of the configuration reference."""
    for command in COMMANDS:
        yield command.text
        for one in (*COMMON, *command.arguments):
            for argument in one.arguments if isinstance(one, OneOf) else (one,):
                yield str(argument.options.get("help", ""))
    for setting in (*SECTION_SETTINGS.values(), *HOST, *MATCH.values()):
        yield setting.meaning


def remarks() -> Iterator[str]:
    """The comments in units, rules and configuration files."""
    for path in (p for p in (TOP / "systemd").rglob("*") if p.is_file()):
        for block in re.findall(r"(?:^#(?!!).*\n)+", path.read_text(), flags=re.MULTILINE):
            yield " ".join(line.lstrip("# ") for line in block.splitlines() if "SPDX" not in line)


def messages(folder: str) -> Iterator[str]:
    """Texts of the program that are no docstrings; a value that a text fills in is an X."""
    for tree in _trees(folder):
        apart = {id(n) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        apart |= {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                apart |= {id(part) for part in node.values}
                yield "".join(_literal(part) for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value if id(node) not in apart else ""


def docstrings(folder: str, words: Mapping[str, str] | None = None) -> Iterator[str]:
    """The paragraphs and items of all docstrings; with ``words``, of the files that have one."""
    for tree in _trees(folder) if words is None else _suspects(folder, words):
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                for block in re.split(r"\n\s*\n|\n\s*- |\|", str(node.value.value)):
                    yield " ".join(block.split())


def _suspects(folder: str, words: Mapping[str, str]) -> Iterator[ast.Module]:
    """To parse all tests takes seconds."""
    for path in (TOP / folder).rglob("*.py"):
        text = path.read_text()
        if _any_of(tuple(words)).search(" ".join(text.split())):
            yield ast.parse(text)


def comments(folder: str) -> Iterator[str]:
    """The comments of the code, a block of lines as one; ``# `` inside a text counts as well."""
    for path in sorted((TOP / folder).rglob("*.py")):
        for block in re.findall(r"(?:(?:^|\s\s)# .*\n\s*)+", path.read_text(), flags=re.MULTILINE):
            yield " ".join(line.partition("# ")[2] for line in block.splitlines())


def names_of_tests() -> Iterator[str]:
    """The names of all tests as sentences."""
    for path in (TOP / "tests").rglob("test_*.py"):
        for name in re.findall(r"^\s*def test_(\w+)", path.read_text(), flags=re.MULTILINE):
            yield name.replace("_", " ")


@cache
def _trees(folder: str) -> tuple[ast.Module, ...]:
    return tuple(ast.parse(p.read_text()) for p in sorted((TOP / folder).rglob("*.py")))


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "X"


def words_in(texts: Iterable[str], words: Mapping[str, str] = WORDS) -> list[str]:
    """The banned words of texts whose sentences may have any form."""
    return [
        f"{sentence!r} {'; '.join(wrong)}"
        for text in texts
        for sentence in sentences(text)
        if (wrong := banned(sentence, words))
    ]


def found(texts: Iterator[str]) -> list[str]:
    return [
        f"{sentence!r} {'; '.join(wrong)}"
        for text in texts
        for sentence in sentences(text)
        if (wrong := wrong_in(sentence))
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_keeps_the_rules(document: str) -> None:
    assert found(prose(document)) == []


def test_help_and_the_configuration_reference_keep_the_rules() -> None:
    assert found(described()) == []


@pytest.mark.parametrize("sentence", OLD)
def test_an_old_sentence_breaks_a_rule(sentence: str) -> None:
    assert wrong_in(sentence) != []


def test_comments_in_units_keep_the_rules() -> None:
    assert len(list(remarks())) > 20
    assert found(remarks()) == []


@pytest.mark.parametrize("folder", RULES["code"]["messages"])
def test_messages_keep_the_rules(folder: str) -> None:
    texts = [text for text in messages(folder) if len(text.split()) > SHORT]
    assert len(texts) > 5
    assert (
        found(
            text for text in texts if not text.lstrip().startswith(tuple(RULES["code"]["samples"]))
        )
        == []
    )


@pytest.mark.parametrize("folder", RULES["code"]["docstrings"])
def test_docstrings_keep_the_rules(folder: str) -> None:
    assert found(docstrings(folder)) == []


@pytest.mark.parametrize("folder", RULES["code"]["comments"])
def test_comments_of_the_code_use_the_terms(folder: str) -> None:
    texts = list(comments(folder))
    assert len(texts) > 5
    assert words_in(texts) == []


def test_docstrings_of_the_tests_use_the_terms() -> None:
    assert words_in(docstrings("tests", WORDS)) == []


def test_names_of_the_tests_use_the_terms() -> None:
    assert words_in(names_of_tests(), {**WORDS, **RULES["names"]}) == []


@pytest.mark.parametrize("name", OLD_NAMES)
def test_an_old_name_breaks_a_rule(name: str) -> None:
    assert words_in([name], {**WORDS, **RULES["names"]}) != []


def test_no_page_of_docs_is_too_long() -> None:
    lines = {page: len((TOP / page).read_text().splitlines()) for page in PAGES}
    too_long = {page for page, count in lines.items() if count > RULES["longest_page"]}
    assert too_long == set(RULES["long_pages"])


def test_each_exception_is_still_needed() -> None:
    texts = [t for d in DOCUMENTS for t in prose(d)]
    for folder in RULES["code"]["messages"]:
        texts += [*messages(folder), *docstrings(folder)]
    there = {s for t in texts for s in sentences(t)}
    assert set(RULES["exceptions"]) <= there
