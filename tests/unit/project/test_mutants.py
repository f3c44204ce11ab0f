# SPDX-License-Identifier: Apache-2.0
"""The faults of tests/mutation/mutants.py: they fit the present program, and each changes it."""

import ast
from itertools import islice

import faults
import generator
import pytest
from checkout import TOP
from faults import Fault
from judge import Verdict
from reach import Reach
from sites import FaultError, Mutant, SourceFile, program, reached_lines, symbols

FILES = program(TOP)
DECIDE = [file for file in FILES if file.path.startswith("core/decide/")]
EXAMPLE = """\
LIMIT = 3

class Counter:
    def count(self, values):
        \"\"\"At most 7.\"\"\"
        log.debug("more than %d", 7)
        total = 0
        for value in values:
            if value > LIMIT and value < 9:
                self.store(f"{value + 7}")
        return total
"""


def example(text: str = EXAMPLE) -> SourceFile:
    return SourceFile("core/example.py", text.encode(), ast.parse(text))


def changed_lines(mutant: Mutant, text: str = EXAMPLE) -> list[tuple[str, str]]:
    pairs = zip(text.splitlines(), mutant.source.decode().splitlines(), strict=True)
    return [(old.strip(), new.strip()) for old, new in pairs if old != new]


@pytest.mark.parametrize("fault", faults.faults(), ids=lambda fault: fault.name)
def test_every_fault_made_by_hand_fits_one_line_of_the_program(fault: Fault) -> None:
    mutant = faults.mutant(fault, FILES)
    assert mutant.source != (TOP / mutant.path).read_bytes()


def test_there_are_forty_faults_made_by_hand() -> None:
    assert len(faults.faults()) == 40


def test_a_fault_is_found_however_the_formatter_wraps_its_code() -> None:
    fault = Fault("name", "Counter.count", "value > LIMIT and value < 9", "value > LIMIT")
    wrapped = EXAMPLE.replace("value > LIMIT and value < 9", "(value > LIMIT\n and value < 9)")
    for text in (EXAMPLE, wrapped):
        mutant = faults.mutant(fault, [example(text)])
        assert b"if (value > LIMIT)" in mutant.source.replace(b"((", b"(").replace(b"))", b")")


@pytest.mark.parametrize(
    ("symbol", "find"),
    [
        ("Counter.count", "value >= LIMIT"),
        ("Counter.count", "value"),
        ("Counter.gone", "total = 0"),
    ],
    ids=["no such text", "several places", "no such symbol"],
)
def test_a_fault_that_fits_no_single_line_is_an_error(symbol: str, find: str) -> None:
    with pytest.raises(FaultError, match="'lost'"):
        faults.mutant(Fault("lost", symbol, find, "None"), [example()])


def test_the_same_seed_gives_the_same_mutants_and_another_seed_others() -> None:
    def some(seed: int) -> list[str]:
        return [f"{m.where} {m.edit}" for m in islice(generator.mutants(DECIDE, seed), 50)]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_every_generated_mutant_changes_the_syntax_tree_of_its_own_function() -> None:
    by_path = {file.path: file for file in DECIDE}
    for mutant in islice(generator.mutants(DECIDE, 3), 60):
        file = by_path[mutant.path]
        before = dict(symbols(file.tree))
        after = dict(symbols(ast.parse(mutant.source)))
        differing = {name for name in before if ast.dump(before[name]) != ast.dump(after[name])}
        owners = {mutant.symbol, mutant.symbol.rpartition(".")[0]} - {""}
        assert differing == owners, mutant


def test_messages_docstrings_and_the_simulation_are_never_mutated() -> None:
    edits = [pair for m in generator.mutants([example()], 1) for pair in changed_lines(m)]
    assert edits
    assert not [old for old, new in edits if "7" in old and new != "pass"]
    paths = {mutant.path for mutant in islice(generator.mutants(FILES, 5), 200)}
    assert not [path for path in paths if path.startswith("core/simulation/")]


def test_all_kinds_of_edits_of_a_function_are_generated() -> None:
    edits = {m.edit.partition(":")[0] for m in generator.mutants([example()], 1)}
    assert edits == {"and/or", "call removed", "comparison", "condition", "constant", "return"}


def test_the_tests_of_a_mutant_reach_its_line_and_the_fastest_run_first() -> None:
    lines = {"core/example.py": {"9": [0, 1], "10": [2], "1": [3]}}
    known = Reach(("slow", "quick", "other", "import"), (2.0, 1.0, 0.1, 0.1), lines, ())
    mutant = Mutant("m", "core/example.py", "Counter.count", 9, (9, 10), "", b"")
    assert known.of(mutant) == {"quick": 1.0, "slow": 2.0}


def test_the_head_of_a_block_does_not_reach_an_edit_inside() -> None:
    function = dict(symbols(example().tree))["Counter.count"]
    calls = [n for n in ast.walk(function) if ast.unparse(n).startswith("self.store")]
    assert isinstance(calls[0], ast.stmt)
    assert reached_lines(function, calls[0]) == (10,)
    assert reached_lines(dict(symbols(example().tree))["LIMIT"], calls[0]) == ()


def test_only_failed_and_passed_tests_judge_a_mutant() -> None:
    outcomes = ("killed", "survived", "void", "hung")
    assert [Verdict(outcome).counts for outcome in outcomes] == [True, True, False, False]
