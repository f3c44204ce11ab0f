# SPDX-License-Identifier: Apache-2.0
"""The documents match the program completely: commands, options, keys, statuses, hooks, files.

With ``EC2NET_WRITE=1`` in the environment the tests first write the generated text: parts of the
documents, the manual pages, the completions.
"""

import ast
import importlib.util
import inspect
import os
import re
import shlex
import tomllib
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import bash_completion
import fish_completion
import json_schema
import layers
import manual
import pytest
import release
import written
import zsh_completion
from checkout import TOP
from manual import commands, may_be_left_out, own_arguments, value_name

from ec2net.core.cli.main import parser
from ec2net.core.config.files import load
from ec2net.core.config.kinds import toml_value
from ec2net.core.config.schema import HOST, MATCH, PER_ENI, SETTINGS, Key, Setting
from ec2net.core.doctor.finding import Check
from ec2net.core.host.other_tools import Tool
from ec2net.core.model.errors import EXIT_MEANING, ExitStatus
from ec2net.core.model.numbers import NumberPlan
from ec2net.core.model.plan import Action
from ec2net.core.model.problem_code import Code
from ec2net.core.plugins import api, hookspecs
from ec2net.core.plugins.backend import Backend
from ec2net.core.report.metrics import KINDS, METRICS, STANDINGS

MANUAL = tuple(sorted(f"packaging/man/{p.name}" for p in manual.FOLDER.glob("*.md")))
DOCUMENTS = (
    *sorted(str(p.relative_to(TOP)) for folder in ("", "docs/") for p in TOP.glob(f"{folder}*.md")),
    *MANUAL,
)
ELSEWHERE = {"--strict", "--collector.textfile.directory=/run/ec2net"}
"""Options of other programs that are named alone."""

ADMINISTRATORS = {"ec2net.toml.d", "ec2net.prom"}
"""Files in /run/ec2net that the program itself does not create."""

JSON_COMMANDS = (
    *(
        "status",
        "plan",
        "refresh",
        "verify",
        "doctor",
        "explain",
        "backends",
        "config",
        "migrate",
        "adopt",
    ),
)
"""In the order of docs/json.md; `start` and `remove` print what `refresh` prints."""

README_LINES = 150
PAGE = 160
"""Lines of docs/architecture.md: a reason that would make it longer belongs next to its code."""

FOLDERS = (
    "core",
    "backends",
    "systemd",
    "packaging",
    "tests",
    "docs",
    "src",
    "examples",
    "acceptance",
)


# Generated text.


def arguments(command: ArgumentParser) -> Iterator[str]:
    """As in a usage line, without the options of all commands."""
    for action in own_arguments(command):
        if "--json" in action.option_strings:
            continue
        words = [*action.option_strings[:1], *filter(None, [value_name(action)])]
        text = " ".join(words)
        yield f"[{text}]" if may_be_left_out(action) else text


def command_table() -> str:
    rows = ["| command | what it does |", "| --- | --- |"]
    for name, command in commands().items():
        line = " ".join(["ec2net", name, *arguments(command)]).replace("|", "\\|")
        rows.append(f"| `{line}` | {command.description} |")
    return "\n".join(rows)


def status_table() -> str:
    rows = ["| exit status | meaning |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| {int(s)} | {text} |" for s, text in EXIT_MEANING.items())])


def settings_tables() -> str:
    parts = [
        "## For every ENI\n",
        "Write these settings at the top of a file for all ENIs, or into an `[[eni]]` section for some ENIs.",
        "An ENI's number, which some settings use, is 100 * network card + device number.\n",
        _table(PER_ENI),
        "\n## For the host\n",
        _table(HOST),
        "\n## Which ENIs does a section apply to?\n",
        "An `[[eni]]` section applies to the ENIs that meet all criteria of its table `match`. If several",
        "sections apply to an ENI, the later one wins, key by key. While IMDS does not list a value that",
        "decides whether a section applies, the ENI is pending: ec2net does not change it.\n",
        _table(tuple(MATCH.values())),
    ]
    return "\n".join(parts)


def _table(keys: tuple[Key, ...]) -> str:
    defaults = isinstance(keys[0], Setting)
    rows = [
        f"| key |{' default |' * defaults} allowed | meaning |",
        f"| --- |{' --- |' * defaults} --- | --- |",
    ]
    for key in keys:
        default = f" `{toml_value(key.default)}` |" if isinstance(key, Setting) else ""
        rows.append(f"| `{key.key}` |{default} {key.kind.allowed} | {key.meaning} |")
    return "\n".join(rows)


@cache
def json_tables() -> dict[str, str]:
    """By command, the keys of its output; a shared part is described at its first use."""
    schema = json_schema.load()
    shown: dict[str, str] = {}
    tables = {}
    for command in JSON_COMMANDS:
        before = set(shown)
        found = json_schema.rows(schema["$defs"][command], schema, shown=shown)
        rows = [f"| `{path}` | {kind} | {text} |" for path, kind, text in found]
        tables[command] = "\n".join(["| key | type | meaning |", "| --- | --- | --- |", *rows])
        shown |= {name: f"{shown[name]} of `{command}`" for name in shown.keys() - before}
    return tables


def json_keys(command: str) -> str:
    return json_tables()[command]


def metrics_table() -> str:
    rows = ["| name | type | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in METRICS.items()]
    labels = [
        f"- `kind` of errors is one of {_words(KINDS)}.",
        f"- `standing` of ENIs is one of {_words(STANDINGS)}.",
        f"- `action` of changes is one of {_words([action.name.lower() for action in Action])}.",
        f"- `result` of passes is one of {_words(['done', 'failed'])}.",
    ]
    return "\n".join([*rows, "", *labels])


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def hook_list() -> str:
    return "\n\n".join(_described(hook) for hook in hooks().values())


def hooks() -> dict[str, Callable[..., Any]]:
    found = vars(hookspecs)
    return {name: found[name] for name in found if name.startswith("ec2net_")}


def backend_list() -> str:
    names = [name for name in vars(Backend) if callable(getattr(Backend, name)) and name[0] != "_"]
    required = [name for name in names if name in Backend.__abstractmethods__]
    parts = ["`name`: the name in the configuration, of lower-case letters, digits and `-`."]
    parts += [_described(getattr(Backend, name)) for name in required]
    parts += ["The following verbs are optional:"]
    parts += [_described(getattr(Backend, name)) for name in names if name not in required]
    return "\n\n".join(parts)


def api_table() -> str:
    """The names of the plugin interface, with the first sentence about each."""
    rows = ["| name | what it is |", "| --- | --- |"]
    about = _sentences()
    return "\n".join([*rows, *(f"| `{name}` | {about[name]} |" for name in api.__all__)])


def _sentences() -> dict[str, str]:
    """By name in api.py, from the docstring where it is defined."""
    found = {}
    for node in ast.parse((TOP / layers.API).read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            spec = importlib.util.find_spec(node.module)
            assert spec is not None
            assert spec.origin is not None
            texts = dict(_docstrings(ast.parse(Path(spec.origin).read_text())))
            for alias in node.names:
                text = " ".join(texts[alias.name].replace("``", "`").split())
                found[alias.asname or alias.name] = re.split(r"(?<=\.) ", text)[0]
    return found


def _docstrings(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The docstrings of classes, functions, and of names that a string follows."""
    for node, after in zip(module.body, [*module.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, ast.get_docstring(node) or ""
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else target
        if isinstance(target, ast.Name):
            value = after.value if isinstance(after, ast.Expr) else None
            yield target.id, str(value.value) if isinstance(value, ast.Constant) else ""


def _described(function: Callable[..., Any]) -> str:
    signature = re.sub(r"'([^']*)'", r"\1", str(inspect.signature(function)))
    signature = re.sub(r"(?:ec2net\.|collections\.|ipaddress\.)[\w.]*\.(\w+)", r"\1", signature)
    signature = signature.replace("(self, ", "(").replace("<class ", "").replace(">]", "]")
    text = (inspect.getdoc(function) or "").replace("``", "`")
    return f"### `{function.__name__}`\n\n`{function.__name__}{signature}`\n\n{text}"


def codes_table() -> str:
    rows = [f"| `{code}` | {code.meaning} | `{code.message_id}` |" for code in Code]
    return "\n".join(("| `REASON_CODE` | meaning | `MESSAGE_ID` |", "| --- | --- | --- |", *rows))


def security_contact() -> str:
    """The fork that ships ec2net writes the address into pyproject.toml alone."""
    return f"<{release.identity(TOP)['SECURITY']}>"


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("SECURITY.md", "security contact"): security_contact,
    ("docs/commands.md", "commands"): command_table,
    ("docs/commands.md", "exit statuses"): status_table,
    ("docs/configuration.md", "settings"): settings_tables,
    **{
        ("docs/json.md", f"json {command}"): partial(json_keys, command)
        for command in JSON_COMMANDS
    },
    ("docs/architecture.md", "folders"): layers.folders_table,
    ("CONTRIBUTING.md", "packages"): layers.packages_table,
    ("docs/observation.md", "metrics"): metrics_table,
    ("docs/observation.md", "codes"): codes_table,
    ("docs/security.md", "files"): written.table,
    ("docs/plugins.md", "hooks"): hook_list,
    ("docs/plugin-interface.md", "backend"): backend_list,
    ("docs/plugin-interface.md", "interface"): api_table,
}


def with_generated(document: str) -> str:
    """The document's text with its generated parts written again."""
    text = (TOP / document).read_text()
    for (name, part), make in GENERATED.items():
        if name == document:
            begin, end = (
                f"<!-- generated: {part} (EC2NET_WRITE=1 pytest tests/unit/project/test_docs.py) -->",
                "<!-- end -->",
            )
            before, mark, rest = text.partition(begin)
            assert mark, f"{document} has no place for {part}"
            text = f"{before}{begin}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


# Checks of the documents.


def read(document: str) -> str:
    """A document; for a page of the manual with its generated text."""
    path = TOP / document
    return manual.source_text(path) if document in MANUAL else path.read_text()


def fences(document: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block."""
    text = read(document)
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        yield match[1], match[2]


def spans(document: str) -> Iterator[str]:
    """Inline code outside of fenced blocks."""
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.DOTALL | re.MULTILINE)
    for match in re.finditer(r"`([^`\n]+)`", text):
        yield match[1].replace("\\|", "|")


def command_lines(document: str) -> Iterator[str]:
    for language, content in fences(document):
        if language == "console":
            yield from re.findall(r"^[$#] (.*)$", content, flags=re.MULTILINE)
    if document in MANUAL:
        yield from re.findall(r"^    (ec2net .*)$", read(document), flags=re.MULTILINE)
        return  # its spans are the generated usage
    yield from (span for span in spans(document) if span.startswith(("ec2net ", "make ")))


# The tests.


@pytest.fixture(scope="module", autouse=True)
def _written() -> None:
    """Write the generated text, if requested."""
    if os.environ.get("EC2NET_WRITE"):
        for document in sorted({name for name, _ in GENERATED}):
            (TOP / document).write_text(with_generated(document))
        manual.main()
        for module in (bash_completion, fish_completion, zsh_completion):
            module.main()


@pytest.mark.parametrize("document", sorted({name for name, _ in GENERATED}))
def test_generated_parts_are_up_to_date(document: str) -> None:
    assert with_generated(document) == (TOP / document).read_text(), (
        f"{document} is out of date: run EC2NET_WRITE=1 pytest tests/unit/project/test_docs.py"
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_is_valid(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), flags=re.MULTILINE))
    for line in command_lines(document):
        words = shlex.split(re.split(r" (?:\||&&|>) ", line)[0], comments=True)
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, line
        elif words[0] == "ec2net" and "[" not in line:
            try:
                parser().parse_args(words[1:])
            except SystemExit as end:
                if end.code != 0:  # as after --version
                    pytest.fail(f"{document}: {line!r}: {capsys.readouterr().err}")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_option_exists(document: str) -> None:
    known = {
        o for c in (parser(), *commands().values()) for a in c._actions for o in a.option_strings
    }
    for span in spans(document):
        words = span.split()
        if words[0].startswith("--"):
            assert words[0] in known | ELSEWHERE, span
        elif words[0] in commands() and len(words) > 1:
            options = {o for a in commands()[words[0]]._actions for o in a.option_strings}
            assert {word for word in words if word.startswith("-")} <= options, span


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_exit_status_exists(document: str) -> None:
    numbers = re.findall(r"(?:ends?|fails?|exit)(?: with)? status (\d+)", read(document))
    assert {int(number) for number in numbers} <= set(ExitStatus)


def units() -> set[str]:
    return {path.name for path in (TOP / "systemd").iterdir() if path.is_file()}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_unit_and_file_exists(document: str) -> None:
    text = read(document).replace("*", "").replace("`", "")
    for name, kind in re.findall(r"\b(ec2net[a-z-]*@?)\w*\.(service|target|timer)\b", text):
        assert f"{name}.{kind}" in units(), name
    state = {str(name) for path in production_sources() for name in strings(path)}
    for name in re.findall(r"/run/ec2net/([\w.-]*\w)", text):
        assert name in state or name in ADMINISTRATORS, name
    for path in re.findall(
        r"/usr/lib/((?:systemd|NetworkManager|udev)/[\w./-]*ec2net[\w./-]*)", text
    ):
        assert list((TOP / "systemd").rglob(Path(path).name)), path


def test_every_unit_is_in_the_manual() -> None:
    text = read("packaging/man/ec2net.8.md").replace("*LINK*", "").replace("`", "")
    assert {
        unit for unit in units() if not re.search(rf"(?<![\w-]){re.escape(unit)}", text)
    } == set()


def state_files() -> set[str]:
    """The files in /run/ec2net that ec2net(8) lists."""
    return set(re.findall(r"/run/ec2net/([\w.-]*\w)", read("packaging/man/ec2net.8.md")))


def test_every_state_file_is_in_the_manual() -> None:
    """By their names in the program; tests/netns/conftest.py checks the real files."""
    named = {
        name
        for path in production_sources()
        for name in strings(path)
        if re.fullmatch(r"[a-z-]+\.(json|lock)", name) and name not in SETTINGS
    }
    assert named - state_files() == set()
    assert len(named) > 8


def test_the_table_has_every_file_that_the_program_writes() -> None:
    """A new writer is missing from the table: its author adds the path and the content."""
    assert written.other_writers().keys() == written.ELSEWHERE.keys()
    assert {one.where for one in written.written()} == written.WHAT.keys()
    of_state = {Path(one.where).name for one in written.state_files()}
    assert {name for name in of_state if name.endswith(".json")} <= state_files()


def production_sources() -> list[Path]:
    return [p for folder in ("core", "backends") for p in (TOP / folder).rglob("*.py")]


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_and_option_has_its_line() -> None:
    text = read("docs/commands.md")
    for name, command in commands().items():
        assert f"`ec2net {name}" in text
        for action in command._actions:
            if {"-h", "-v"}.isdisjoint(action.option_strings):
                assert all(option in text for option in action.option_strings), name


def test_every_exit_status_has_its_meaning() -> None:
    assert list(EXIT_MEANING) == sorted(ExitStatus)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_setting_exists(document: str, tmp_path: Path) -> None:
    keys_of_json = document == "docs/json.md"
    for span in () if keys_of_json else spans(document):
        if re.fullmatch(r"(numbers|links|timeouts|resident|rollback|plugins)\.\w+", span):
            assert span in SETTINGS, span
    samples = [content for language, content in fences(document) if language == "toml"]
    samples += [span for span in spans(document) if re.match(r"[\w.]+ = ", span)]
    for number, sample in enumerate(samples):
        if "entry-points" in sample:
            tomllib.loads(sample)
            continue
        root = tmp_path / str(number)
        (root / "etc/ec2net").mkdir(parents=True)
        (root / "etc/ec2net/ec2net.toml").write_text(sample)
        assert load(root).errors == (), sample


def test_each_number_appears_with_its_default() -> None:
    numbers, text = NumberPlan(), (TOP / "docs/routing.md").read_text()
    for key, default in (
        ("numbers.priority_base", f"{numbers.priority_base} + n"),
        ("numbers.priority_base` - 1", str(numbers.main_first_priority)),
        ("numbers.table_base", f"{numbers.table_base} + n"),
        ("numbers.metric_base", f"{numbers.metric_base} + n"),
        ("numbers.protocol", str(numbers.protocol)),
        ("numbers.link_group", str(numbers.link_group)),
    ):
        assert re.search(rf"\| {re.escape(default)} \| `{re.escape(key)}", text), key


def test_the_walk_of_an_address_names_existing_functions() -> None:
    """In docs/architecture.md as ``core/FOLDER/MODULE.py`` (``NAME``, ``CLASS.NAME``)."""
    text = read("docs/architecture.md")
    steps = re.findall(r"`(core/[\w/]+)\.py`\s+\(((?:`[\w.]+`(?:, )?)+)\)", text)
    assert len(steps) > 20
    for path, names in steps:
        module = importlib.import_module(f"ec2net.{path.replace('/', '.')}")
        for name in re.findall(r"[\w.]+", names):
            attrgetter(name)(module)


def test_the_page_on_the_architecture_is_one_page() -> None:
    assert len(read("docs/architecture.md").splitlines()) <= PAGE


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) < README_LINES


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_path_and_module_exists(document: str) -> None:
    text = read(document)
    for path in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w/?", text):
        assert (TOP / path).exists(), path
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((TOP / document).parent / target).exists(), target
    for name in re.findall(r"\bec2net\.(?:core|backends)(?:\.\w+)+", text):
        assert _importable(name), name


def test_every_check_of_doctor_and_every_tool_is_explained() -> None:
    rows = re.findall(r"^\| (\S.*?) \|", (TOP / "docs/doctor.md").read_text(), flags=re.MULTILINE)
    checks = {row.strip("`") for row in rows if row.startswith("`")}
    assert checks == {check.value for check in Check}
    assert {tool.value for tool in Tool} <= set(rows)


def test_every_explained_message_exists_in_the_program() -> None:
    """The first cells of the tables in docs/troubleshooting.md, as far as they are messages."""
    said = " ".join(" ".join(strings(path)) for path in production_sources())
    text = (TOP / "docs/troubleshooting.md").read_text()
    explained = re.findall(r"^\| `([^`]+)`(?: with a reason)? \|", text, flags=re.MULTILINE)
    assert len(explained) > 15
    assert [message for message in explained if message not in said] == []


def _importable(name: str) -> bool:
    """A module, or something in one."""
    parent, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass  # its parent is a module, not a package
    return hasattr(importlib.import_module(parent), last)


def test_every_folder_is_in_the_map() -> None:
    text = (TOP / "CONTRIBUTING.md").read_text()
    mapped = set(re.findall(r"^\| `([\w/]+)/` \|", text, flags=re.MULTILINE))
    with_code = {
        str(path.parent.relative_to(TOP))
        for pattern in ("core/**/*.py", "backends/*/**/*.py", "src/*/*.py", "tests/*/*.py")
        for path in TOP.glob(pattern)
    }
    without = {
        folder for folder in FOLDERS if any(path.is_file() for path in (TOP / folder).glob("*.*"))
    } - {
        "backends",
        "tests",
    }
    assert (with_code | without) - mapped == set()
    assert {folder for folder in mapped if not (TOP / folder).is_dir()} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_run(document: str) -> None:
    for number, (language, content) in enumerate(fences(document)):
        if language == "python":
            module = ModuleType(f"example{number}")
            exec(compile(content, f"{document} example {number}", "exec"), vars(module))  # noqa: S102 - our own examples
            _check_plugin(module)


def test_examples_import_only_the_plugin_interface() -> None:
    example = (TOP / "tests/plugin_example/ec2net_noop.py").read_text()
    examples = [
        content for document in DOCUMENTS for lang, content in fences(document) if lang == "python"
    ]
    for text in (example, *examples):
        named = set(re.findall(r"^(?:from|import) (ec2net[\w.]*)", text, flags=re.MULTILINE))
        assert named == {"ec2net.core.plugins.api"}


def test_every_name_of_the_plugin_interface_is_explained() -> None:
    assert [name for name, text in _sentences().items() if not text] == []
    assert sorted(_sentences()) == sorted(api.__all__)


def _check_plugin(module: ModuleType) -> None:
    import pluggy

    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    implemented = [name for name in hooks() if hasattr(module, name)]
    assert implemented
    for classes in manager.hook.ec2net_backends():
        for backend in classes:
            assert issubclass(backend, Backend)
            assert not inspect.isabstract(backend)
