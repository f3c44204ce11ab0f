# SPDX-License-Identifier: Apache-2.0
"""Private copies of the working tree, in which the program may be made faulty."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sites import Mutant

TOP = Path(__file__).parents[2]


def _git(*arguments: str, index: str = "") -> str:
    env = {**os.environ, **({"GIT_INDEX_FILE": index} if index else {})}
    done = subprocess.run(
        ["git", *arguments], cwd=TOP, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def working_tree() -> tuple[str, str]:
    """A name for the state of the checkout, and git's tree of it.

    The name is the commit, or the tree where files differ from the commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = f"{folder}/index"
        shutil.copy(_git("rev-parse", "--path-format=absolute", "--git-path", "index"), index)
        _git("add", "--all", index=index)
        tree = _git("write-tree", index=index)
    clean = tree == _git("rev-parse", "HEAD^{tree}")
    return (_git("rev-parse", "HEAD") if clean else f"tree-{tree}")[:17], tree


class Copy:
    """A copy of a tree. One process of tests at a time runs in it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._running: subprocess.Popen[bytes] | None = None

    def environment(self, **added: str) -> dict[str, str]:
        """The environment of pytest in this copy: the copy's program, the plugins, and one cache of
        bytecode."""
        paths = f"{self.top / 'src'}:{Path(__file__).parent}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE_", "PYTEST_"))}
        return {**kept, "PYTHONPATH": paths, **added}

    def pytest(self, *arguments: str, limit: float, log: Path, **env: str) -> int | None:
        """Run pytest; its exit status, or None if it did not end within ``limit`` seconds."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        with (
            log.open("w") as file,
            subprocess.Popen(
                command,
                cwd=self.top,
                env=self.environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            self._running = process
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                self.end()

    def end(self) -> None:
        """Kill what runs in it, and what that has started."""
        process, self._running = self._running, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The program is faulty inside the block."""
        path = self.top / mutant.path
        before = path.read_bytes()
        self._write(path, mutant.source)
        try:
            yield
        finally:
            self._write(path, before)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        """Delete bytecode: Python compares second and size, which may be the same."""
        path.write_bytes(content)
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            cached.unlink()


@contextmanager
def copies(tree: str, count: int) -> Iterator[list[Copy]]:
    """Copies of git's ``tree``, which are gone after the block."""
    with tempfile.TemporaryDirectory(
        prefix="ec2net-mutants-", ignore_cleanup_errors=True
    ) as folder:
        made = []
        for number in range(count):
            top = Path(folder, str(number))
            top.mkdir()
            with subprocess.Popen(
                ["git", "archive", tree], cwd=TOP, stdout=subprocess.PIPE
            ) as archive:
                subprocess.run(["tar", "-x"], stdin=archive.stdout, cwd=top, check=True)
            made.append(Copy(top))
        try:
            yield made
        finally:
            for copy in made:
                copy.end()
