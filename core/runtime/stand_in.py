# SPDX-License-Identifier: Apache-2.0
"""Modules that stand in for others while a library is imported, which needs little of them."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Late(ModuleType):
    """A module of functions: each imports the real module when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*arguments, **named)

        return call


@contextmanager
def in_place(*stand_ins: ModuleType) -> Iterator[None]:
    """Imports in the block get the stand-ins of modules that are not loaded."""
    put = {one.__name__: one for one in stand_ins if one.__name__ not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]
