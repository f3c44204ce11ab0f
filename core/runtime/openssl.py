# SPDX-License-Identifier: Apache-2.0
"""Imports without OpenSSL, which takes 4 MiB of a process and 5 ms (docs/performance.md).

IMDS speaks HTTP, and nothing of ec2net speaks TLS. A plugin may: before the first one is loaded,
``allow`` forgets the modules that do without OpenSSL, so that they are imported whole.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ABSENT = ("_hashlib", "_ssl", "ssl", "OpenSSL")
"""The modules that load OpenSSL. urllib3 takes pyOpenSSL if there is no ssl."""

_HASHES = ("_md5", "_sha1", "_sha3", "_blake2")
"""The modules with which hashlib does without OpenSSL; a build of Python may lack them."""

_FORGOTTEN = ("hashlib", "hmac", "http", "urllib", "urllib3", "requests", "certifi")
"""They, and modules in them, remember that a module of ``_ABSENT`` was missing."""

_allowed = False
_spared: set[str] = set()
"""Modules that were imported without OpenSSL."""


@contextmanager
def spared() -> Iterator[bool]:
    """Imports in the block do without OpenSSL, unless it is loaded or needed; whether they do."""
    if _allowed or not sys.modules.keys().isdisjoint(_ABSENT) or not _hashes():
        yield False
        return
    before = set(sys.modules)
    sys.modules.update(dict.fromkeys(_ABSENT))  # type: ignore[arg-type]  # None: ImportError
    try:
        yield True
    finally:
        for name in _ABSENT:
            del sys.modules[name]
        _spared.update(sys.modules.keys() - before)


def allow(*users: str) -> None:
    """Foreign code follows: modules are imported whole from now on, ``users`` of them included."""
    global _allowed
    _allowed = True
    for name in (*_spared, *(users if _spared else ())):
        if name in users or name.partition(".")[0] in _FORGOTTEN:
            sys.modules.pop(name, None)
    _spared.clear()


def _hashes() -> bool:
    try:
        for name in _HASHES:
            importlib.import_module(name)
    except ImportError:
        return False
    return True
