# SPDX-License-Identifier: Apache-2.0
"""Modules that stand in for others during an import."""

import importlib
import sys

import pytest

from ec2net.core.runtime.stand_in import Late, in_place


def test_a_function_of_a_late_module_imports_the_real_one_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with in_place(Late("colorsys")):
        late = importlib.import_module("colorsys").rgb_to_hsv
    assert "colorsys" not in sys.modules
    assert late(0, 0, 0) == (0.0, 0.0, 0)
    assert importlib.import_module("colorsys").rgb_to_hsv is not late


def test_a_loaded_module_is_not_replaced() -> None:
    with in_place(Late("json")):
        assert not isinstance(sys.modules["json"], Late)
    assert "json" in sys.modules


def test_a_late_module_has_no_special_names() -> None:
    with pytest.raises(AttributeError):
        _ = Late("json").__path__
