# SPDX-License-Identifier: Apache-2.0
"""The folders of core/ form layers: each imports only the folders in the table."""

from collections.abc import Mapping
from pathlib import Path

from checkout import TOP
from layers import API, BUILT_INS, MAY_IMPORT, folder, imports


def test_a_folder_imports_only_the_folders_in_its_row() -> None:
    wrong = [
        str(found)
        for found in imports()
        if folder(found.file) in MAY_IMPORT
        and folder(found.target) in MAY_IMPORT
        and folder(found.target) not in MAY_IMPORT[folder(found.file)] | {folder(found.file)}
    ]
    assert wrong == []


def test_core_names_backends_only_in_the_table_of_built_ins() -> None:
    wrong = [
        str(found)
        for found in imports()
        if found.file.startswith("core/") and found.target.startswith("backends/")
    ]
    assert wrong == []
    naming = {
        str(path.relative_to(TOP))
        for path in (TOP / "core").rglob("*.py")
        if '"ec2net.backends' in path.read_text()
    }
    assert naming == {BUILT_INS}


def test_backends_import_only_the_plugin_interface() -> None:
    wrong = [
        str(found)
        for found in imports()
        if found.file.startswith("backends/")
        and found.target.startswith("core/")
        and found.target != API
    ]
    assert wrong == []


def test_every_folder_of_core_has_its_row_and_no_module_is_loose() -> None:
    core = TOP / "core"
    assert {p.parent.name for p in core.glob("*/__init__.py")} == set(MAY_IMPORT)
    assert [p.name for p in core.glob("*.py")] == ["__init__.py"]


def test_no_rows_form_a_cycle() -> None:
    assert _cycle(MAY_IMPORT) == []


def test_no_files_import_each_other_in_a_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for found in imports():
        if found.target != found.file and Path(found.target).name != "__init__.py":
            graph.setdefault(found.file, set()).add(found.target)
    assert _cycle(graph) == []


def _cycle(graph: Mapping[str, frozenset[str] | set[str]]) -> list[str]:
    """The modules that are left after repeatedly removing each one that imports no other."""
    left = {name: set(others) for name, others in graph.items()}
    while ends := {name for others in left.values() for name in others} - left.keys() | {
        name for name, others in left.items() if not others
    }:
        left = {name: others - ends for name, others in left.items() if name not in ends}
    return sorted(left)
