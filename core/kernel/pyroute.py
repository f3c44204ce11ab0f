# SPDX-License-Identifier: Apache-2.0
"""The only importer of pyroute2: its rtnetlink messages, without the rest of the package.

``pyroute2/__init__`` imports every protocol it knows (conntrack, NDB, wireguard, ...), which
doubles its cost (docs/performance.md). The package is entered by a side door here: a module object
that knows where the package lies, and becomes the whole package as soon as a caller asks it for a name.
Its settings name three functions of multiprocessing, which nothing here calls.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from ec2net.core.runtime.stand_in import Late, in_place


class _Package(ModuleType):
    """``pyroute2`` before its ``__init__`` ran."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        if importlib.util.find_spec(f"pyroute2.{name}") is not None:
            raise AttributeError(name)  # a submodule: the import system imports just that
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def message_class(name: str) -> Any:
    """The class of rtnetlink messages called ``name``, such as ``rtmsg``."""
    return getattr(_module(f"pyroute2.netlink.rtnl.{name}"), name)


def knows_address_protocol() -> bool:
    """Whether this pyroute2 can set the protocol of an address (IFA_PROTO: not up to 0.7.7, in
    Debian 13)."""
    return "IFA_PROTO" in (name for name, _ in message_class("ifaddrmsg").nla_map)


def _module(name: str) -> Any:
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("pyroute2 is not installed", name="pyroute2")
        package = _Package("pyroute2")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["pyroute2"] = package
        with in_place(Late("multiprocessing")):
            importlib.import_module("pyroute2.config")
    return importlib.import_module(name)
