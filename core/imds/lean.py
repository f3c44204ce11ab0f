# SPDX-License-Identifier: Apache-2.0
"""requests without what IMDS never needs: 9 MiB and 25 ms of every process (docs/performance.md).

- charset_normalizer (or chardet): requests imports it to read its version. It uses the module only
  for ``Response.text`` and ``json()`` of bytes with an unknown character set. IMDS answers are
  ASCII and are decoded here.
- idna, for names of hosts that are not ASCII.
- OpenSSL, and the path of certifi's certificates (``core/runtime/openssl.py``).
- importlib.metadata, by which urllib3 would read the version of h2.

A stand-in of the first two becomes the real module as soon as other code (a plugin, say) uses it.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from ec2net.core.runtime.openssl import spared
from ec2net.core.runtime.stand_in import Late, in_place

_VERSION = {"chardet": "4.0.0", "charset_normalizer": "2.1.0"}
"""requests takes the first that it can import. The versions are any that requests 2.28 to 2.34 accepts."""


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name == "__version__" and self.__name__ in _VERSION:
            return _VERSION[self.__name__]
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[self.__name__]
        real = importlib.import_module(self.__name__)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__dict__.update(real.__dict__)
        return getattr(real, name)


class _NoCertificates(ModuleType):
    """certifi without its search for the file, which only TLS reads."""

    @staticmethod
    def where() -> str:
        return ""


def import_requests() -> None:
    """Import requests with stand-ins. Does nothing if requests is loaded."""
    if "requests" in sys.modules:
        return
    for name in _VERSION:
        if _stand_in(name):
            break
    _stand_in("idna")
    with spared() as without_tls:
        certificates = [_NoCertificates("certifi")] if without_tls else []
        with in_place(Late("importlib.metadata"), *certificates):
            importlib.import_module("requests")


def _stand_in(name: str) -> bool:
    """Whether the module ``name`` has a stand-in: if it is installed, and not loaded."""
    if name in sys.modules or importlib.util.find_spec(name) is None:
        return False
    sys.modules[name] = _StandIn(name)
    return True
