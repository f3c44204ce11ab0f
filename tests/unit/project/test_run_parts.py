# SPDX-License-Identifier: Apache-2.0
"""The runner of the tests: it forgets no test file, and a part that did not run is never green."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import parts
import pytest
import run
from checkout import TOP
from parts import Part

TESTS = TOP / "tests"


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.delenv("CI", raising=False)


def ran(*given: Part, lanes: int = 3) -> dict[str, run.Result]:
    done = dict[str, run.Result]()
    run.run_parts(given, lanes, done, at="")
    return done


def names(path: str) -> set[str]:
    return {f"{path}/{file.name}" for file in (TESTS.parent / path).glob("test_*.py")}


@pytest.mark.parametrize("suite", [parts.once, parts.everything])
def test_each_file_of_the_namespaces_is_in_one_part(suite: Callable[[], list[Part]]) -> None:
    chosen = [part for part in suite() if "namespaces: " in part.name]
    files = [word for part in chosen for word in part.argv if word.startswith("tests/netns/")]
    assert sorted(files) == sorted(names("tests/netns"))


def test_each_file_of_the_unit_tests_is_in_one_half() -> None:
    chosen = [TOP / word for part in parts.unit() for word in part.argv if "tests/unit" in word]
    files = [file for path in chosen for file in path.rglob("test_*.py")]
    assert sorted(files) == sorted((TESTS / "unit").rglob("test_*.py"))


@pytest.mark.parametrize("suite", [parts.once, parts.everything])
def test_each_folder_of_tests_is_in_a_part(suite: Callable[[], list[Part]]) -> None:
    argv = {word for part in suite() for word in part.argv}
    folders = {str(Path(word).parent) if word.endswith(".py") else word for word in argv}
    assert {"tests/unit", "tests/netns", "tests/lab", "tests/packages"} <= folders


def test_a_part_waits_for_its_requirements() -> None:
    made = "test -e made || exit 1"
    done = ran(
        Part("second", ("sh", "-c", f"cd '{run.RESULTS}' && {made}"), ("first",)),
        Part("first", ("sh", "-c", f"touch '{run.RESULTS}/made'")),
    )
    assert [done[name].state for name in ("first", "second")] == ["ran", "ran"]


def test_a_part_without_its_requirements_is_not_run_and_not_green(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = ran(Part("setup", ("false",)), Part("tests", ("true",), ("setup",)))
    assert done["tests"].state == "NOT RUN"
    assert not run.summary(list(done.values()), 0.0)
    assert "NOT RUN  tests: setup did not pass" in capsys.readouterr().out


def test_serial_parts_run_after_all_others() -> None:
    path = run.RESULTS / "order"
    say = "echo {} >> '" + str(path) + "'"
    ran(
        Part("timed", ("sh", "-c", say.format("timed")), serial=True),
        Part("other", ("sh", "-c", say.format("other"))),
    )
    assert path.read_text().split() == ["other", "timed"]


def test_a_part_that_hangs_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIMIT", 0.2)
    done = ran(Part("hangs", ("sh", "-c", "sleep 600 & sleep 600")))
    assert done["hangs"].state == "FAILED"
    assert done["hangs"].why == "exit status none within 0.2 s"


@pytest.mark.parametrize("strict", [False, True])
def test_a_skipped_test_is_named_and_is_a_failure_in_ci(
    strict: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if strict:
        monkeypatch.setenv("CI", "true")
    result = run.Result(Part("unit", (), pytest=True), "ran", passed=1)
    result.skipped.append("test_x::test_y: no root")
    assert run.summary([result], 0.0) is not strict
    said = capsys.readouterr().out
    assert "test_x::test_y: no root" in said
    assert said.endswith("1 passed, 0 failed, 1 skipped\n")


def test_a_part_is_stamped_only_on_an_unchanged_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part("unit", ("true",))
    monkeypatch.setattr(run, "commit", lambda: "abc")
    for at, stamped in (("", False), ("def", False), ("abc", True)):
        run.report(run.run(part), {}, at)
        assert run.stamp_of(part, at or "abc").exists() is stamped


def test_a_signal_ends_all_running_parts(tmp_path: Path) -> None:
    """A part leads a session of its own, so Ctrl-C at a terminal does not reach it."""
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1]); import run; from pathlib import Path;"
        "run.RESULTS = Path(sys.argv[2]); signal.signal(signal.SIGTERM, run.end_all);"
        "run.run(run.Part('hangs', ('sh', '-c', 'echo $$; exec sleep 600')))"
    )
    log = tmp_path / "hangs.log"
    with subprocess.Popen([sys.executable, "-c", code, str(TESTS), str(tmp_path)]) as runner:
        while not (log.exists() and log.read_text().endswith("\n")):
            assert runner.poll() is None
            time.sleep(0.01)
        hanging = os.pidfd_open(int(log.read_text()))
        runner.terminate()
        assert runner.wait() == 128 + signal.SIGTERM
    assert select.select([hanging], [], [], 20)[0]
    os.close(hanging)
