# SPDX-License-Identifier: Apache-2.0
"""Properties that a small change can break: the cost of a start, the layout, bounded waits, types.

The checks read the source as Python does (ast), so comments and messages do not count.
"""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import TOP

from ec2net.core.plugins import hookspecs

ROOT = TOP
SOURCES = sorted(path for folder in ("core", "backends") for path in (ROOT / folder).rglob("*.py"))
SIMULATION = ("core/simulation/",)
"""Make namespaces and fake hosts; no part of what runs as root on an instance."""

HEAVY = ("requests", "urllib3", "pyroute2", "dbus_next", "dbus_fast", "asyncio", "ssl")
METADATA = "importlib.metadata"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def production() -> list[Path]:
    return [path for path in SOURCES if not name(path).startswith(SIMULATION)]


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    packages = Path(sys.modules["ec2net"].__path__[0]).parent
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )


LOADED = """
import json, sys
from ec2net.core.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status", "--help"], ["doctor", "--help"], ["status"]]
)
def test_a_cheap_command_loads_no_heavy_module(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "status.json").write_text('{"enis": [], "problems": []}')
    if arguments == ["status"]:
        arguments = ["status", "--run-dir", str(tmp_path)]
    done = python("-c", LOADED, *arguments)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "ec2net.core.cli.main" in loaded
    assert loaded.isdisjoint({*HEAVY, METADATA, "pluggy", "ec2net.core.engine.engine"})


def test_the_help_loads_nothing_that_only_a_pass_needs() -> None:
    """Dataclasses alone take a tenth of its time."""
    loaded = set(json.loads(python("-c", LOADED, "--help").stderr.splitlines()[-1]))
    assert loaded.isdisjoint({"dataclasses", "inspect", "ipaddress", "logging", "socket"})


IMPORT_ALL = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps([m for m in sys.modules if m.split(".")[0] in ("core", "backends")]))
"""


def modules() -> list[str]:
    return ["ec2net." + name(path).removesuffix(".py").replace("/", ".") for path in SOURCES]


def test_every_module_can_be_imported_by_exactly_one_name(tmp_path: Path) -> None:
    """From another folder: the checkout itself must not be the reason that ``import core``
    works."""
    assert len(modules()) > 50
    wanted = [module.removesuffix(".__init__") for module in modules()]
    done = python("-W", "error", "-c", IMPORT_ALL, *wanted, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("folder", ["core", "backends"])
def test_the_package_is_two_links(folder: str) -> None:
    """A checkout in which they became folders or files would build a wheel without the code."""
    link = ROOT / "src" / "ec2net" / folder
    assert link.is_symlink() or not (ROOT / ".git").exists()  # an sdist holds the files themselves
    assert link.resolve() == (ROOT / folder).resolve()


def test_no_test_folder_is_a_package() -> None:
    """With such a file, pytest would put the checkout on the path and ``import core`` would
    work."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name(path))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The source text of each call's function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


WAITS_ELSEWHERE = {
    "backends/networkmanager/bus.py": "a coroutine; _run ends it with what is left of the deadline",
    "core/runtime/command.py": "what is left of the deadline, then a kill",
    "core/runtime/deadline.py": "the one place that waits: poll with what is left of the deadline",
    "core/kernel/dump.py": "a socket with SO_RCVTIMEO; parts of a dump are queued already",
    "core/kernel/neighbours.py": "a non-blocking socket; the answer is queued before send returns",
    "core/kernel/link_events.py": "a non-blocking socket",
    "core/kernel/request.py": "a socket with SO_RCVTIMEO; the kernel has answered already",
    "core/daemon/sole.py": "flock that does not block",
    "core/daemon/control.py": "non-blocking sockets, after a wait of the deadline or of the loop",
    "core/state/lock.py": "flock in a thread of its own; each waiter polls with the deadline",
    "core/imds/bounded_socket.py": "a non-blocking socket, after a wait of the deadline",
    "core/simulation/vpc/connections.py": "a non-blocking socket",
    "core/simulation/vpc/dhcp.py": "starts a process that ends with it; each waiter has a limit",
    "core/simulation/vpc/echo.py": "a non-blocking socket",
    "core/simulation/vpc/imds_server.py": "a daemon thread of the double; closing it ends its connections",
}
"""Files that may make calls that can block, and why those do not."""


def unbounded(path: Path) -> Iterator[str]:
    """Calls that could wait without end."""
    for called, call in calls(path):
        last = called.rpartition(".")[2]
        bare = not call.args and not call.keywords
        if (
            called in ("time.sleep", "sleep", "input", "signal.pause", "signal.sigwait")
            or (last in ("wait", "join", "acquire", "communicate", "poll", "accept") and bare)
            or last in ("recv", "recv_into", "recvfrom", "recvmsg", "recvmsg_into", "flock")
            or (called == "select.select" and len(call.args) < 4)
            or (called.startswith("subprocess.") and "timeout" not in keywords(call))
        ):
            yield f"{name(path)}:{call.lineno}: {called}"


def test_every_wait_has_a_deadline() -> None:
    """The seed bug: hundreds of processes that waited without end (766 ENIs, load 414)."""
    found = [line for path in SOURCES for line in unbounded(path)]
    assert [line for line in found if line.split(":")[0] not in WAITS_ELSEWHERE] == []


def test_the_reasons_for_waiting_elsewhere_are_still_needed() -> None:
    for file in WAITS_ELSEWHERE:
        assert list(unbounded(ROOT / file)), f"{file}: take it out of the list"


def test_the_guard_detects_each_forbidden_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    bad = [
        "time.sleep(1)",
        "thread.join()",
        "process.wait()",
        "subprocess.run(['ip'])",
        "sock.recv(100)",
        "select.select([a], [], [])",
        "poll.poll()",
        "lock.acquire()",
    ]
    good = ["', '.join(names)", "deadline.wait(fd)", "subprocess.run(['ip'], timeout=5)"]
    for line, expected in [*((line, 1) for line in bad), *((line, 0) for line in good)]:
        (tmp_path / "x.py").write_text(line)
        assert len(list(unbounded(tmp_path / "x.py"))) == expected, line


def test_every_endless_loop_says_how_it_ends() -> None:
    silent = []
    for path in SOURCES:
        lines = path.read_text().splitlines()
        for node in ast.walk(tree(path)):
            if not (isinstance(node, ast.While) and isinstance(node.test, ast.Constant)):
                continue
            if "# ends" not in lines[node.lineno - 1]:
                silent.append(f"{name(path)}:{node.lineno}")
    assert silent == []


LINK_NAME = re.compile(
    r"\b(?:eth|ens|enp|eno|enX|enx|eni|wlan|veth|docker|cni)(?:\d|[*?\[{]|%d)"
    r"|^(?:en|eth|ens|enp|eno|enX|docker|cni)$"
)
LINK_NAMES_IN_MESSAGES = {
    ("core/cli/grammar.py", "the name of the ENI's link, such as ens6"),
    ("core/config/kinds.py", 'a link name, or a glob over link names, such as "ens*"'),
}


def texts(path: Path) -> Iterator[str]:
    """Strings that the program uses: no docstrings, no texts that explain a constant."""
    nodes = list(ast.walk(tree(path)))
    statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in statements
        ):
            yield node.value


def test_no_pattern_of_names_identifies_a_link() -> None:
    """R39: tools that match ens* or eth* fail where links have other names."""
    found = [
        (name(path), text)
        for path in production()
        for text in texts(path)
        if LINK_NAME.search(text)
    ]
    assert set(found) == LINK_NAMES_IN_MESSAGES


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_function_has_types() -> None:
    untyped = [
        f"{name(path)}:{function.lineno}: {function.name}"
        for path in SOURCES
        for function in functions(path)
        if function.returns is None
        or any(
            argument.annotation is None
            for argument in (
                *function.args.posonlyargs,
                *function.args.args,
                *function.args.kwonlyargs,
                *filter(None, (function.args.vararg, function.args.kwarg)),
            )
            if argument.arg not in ("self", "cls")
        )
    ]
    assert untyped == []


def test_every_file_has_its_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0"
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    first = {f: f.read_text().removeprefix("#!/usr/bin/env python3\n") for f in files}
    assert [name(f) for f, text in first.items() if text and not text.startswith(line)] == []


def hooks() -> dict[str, list[str]]:
    """Every hook with its arguments."""
    found = vars(hookspecs).items()
    return {
        hook: list(inspect.signature(function).parameters)
        for hook, function in found
        if hook.startswith("ec2net_")
    }


@pytest.mark.parametrize("hook", sorted(hooks()))
def test_a_test_and_the_example_exercise_every_hook(hook: str) -> None:
    for file in ("tests/unit/plugins/test_loaded.py", "tests/plugin_example/ec2net_noop.py"):
        assert f"def {hook}(" in (ROOT / file).read_text(), file


@pytest.mark.parametrize(("hook", "arguments"), sorted(hooks().items()))
def test_every_hook_is_documented_with_its_arguments(hook: str, arguments: list[str]) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    written = re.findall(rf"`{hook}\(([^)]*)\)", text)
    assert written, f"{hook} is not in docs/plugins.md"
    names = [part.split(":")[0].strip() for part in written[0].split(",") if part.strip()]
    assert names == arguments


def test_the_wheel_has_every_module(tmp_path: Path) -> None:
    """With lost symbolic links or a missing package, a wheel builds silently without the code."""
    skipped = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=skipped)
    pip = ("-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    done = python(*pip, *offline, "--wheel-dir", str(tmp_path), str(checkout))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (n for n in names if n.endswith("entry_points.txt"))
        entry_points = archive.read(points).decode()
    assert {f"ec2net/{name(path)}" for path in SOURCES} <= names
    assert {"ec2net/__init__.py", "ec2net/__main__.py", "ec2net/py.typed"} <= names
    assert {n.split("/")[0] for n in names if n.endswith(".py")} == {"ec2net"}
    assert "ec2net = ec2net.core.cli.main:main" in entry_points


def test_built_in_backends_are_the_entry_points_of_the_project() -> None:
    """They use the same interface: a tool that lists entry points sees them all."""
    import tomllib

    from ec2net.core.plugins.loaded import BUILT_IN

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["ec2net"] == BUILT_IN
