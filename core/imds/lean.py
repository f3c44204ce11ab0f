# SPDX-License-Identifier: Apache-2.0
"""requests without its guess at character sets: 3 MiB and 20 ms of every process
(docs/performance.md).

requests imports charset_normalizer (or chardet) to read its version. It uses the module only for
``Response.text`` and ``json()`` of bytes with an unknown character set. IMDS answers are ASCII and
are decoded here. A stand-in replaces the module, and becomes the real one as soon as other code (a
plugin, say) uses it.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_VERSION = {"chardet": "4.0.0", "charset_normalizer": "2.1.0"}
"""requests takes the first that it can import. The versions are any that requests 2.28 to 2.34 accepts."""


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return _VERSION[self.__name__]
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[self.__name__]
        real = importlib.import_module(self.__name__)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__dict__.update(real.__dict__)
        return getattr(real, name)


def import_requests() -> None:
    """Import requests, with a stand-in for the guessing module. Does nothing if requests is loaded."""
    if "requests" not in sys.modules:
        for name in _VERSION:
            if name not in sys.modules and importlib.util.find_spec(name) is not None:
                sys.modules[name] = _StandIn(name)
                break
    importlib.import_module("requests")
