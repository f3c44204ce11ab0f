# SPDX-License-Identifier: Apache-2.0
"""Imports without OpenSSL, and whole ones for a plugin: in processes of their own."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.library

HTTP = "ec2net.core.imds.transport"

HELLO = """
import importlib, json, socket, sys, threading
from ec2net.core.runtime import openssl

def hello():
    # The first byte that a request by https sends to a server, and the error of the request.
    import requests
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = []
        def serve():
            connection, _ = server.accept()
            with connection:
                seen.extend(connection.recv(1))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            requests.get(f"https://127.0.0.1:{server.getsockname()[1]}/", timeout=10)
        except (requests.RequestException, ImportError) as error:
            said = str(error)
        socket.create_connection(server.getsockname()).close()  # ends a server without a request
        thread.join()
    return seen, said
"""

TLS_HANDSHAKE = 22
"""The type of a record (RFC 8446, section 5.1)."""


def outcome(code: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", HELLO + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_process_without_plugins_does_without_openssl() -> None:
    code = f"""
import {HTTP}
seen, said = hello()
print(json.dumps([seen, "SSL module is not available" in said, "_ssl" in sys.modules]))
"""
    assert outcome(code) == [[], True, False]


@pytest.mark.parametrize("loaded", [True, False], ids=["after a reload", "at the start"])
def test_a_plugin_speaks_https(loaded: bool) -> None:
    code = f"""
if {loaded}:
    import {HTTP}
openssl.allow("{HTTP}")
again = importlib.import_module("{HTTP}")
import hashlib, http.client, requests
seen, _ = hello()
whole = hasattr(hashlib, "scrypt") and hasattr(http.client, "HTTPSConnection")
print(json.dumps([seen, whole, again.requests is requests]))
"""
    assert outcome(code) == [[TLS_HANDSHAKE], True, True]


def test_a_process_that_has_openssl_keeps_it() -> None:
    code = f"""
import ssl
import {HTTP}
print(json.dumps([hello()[0], sys.modules["ssl"] is ssl]))
"""
    assert outcome(code) == [[TLS_HANDSHAKE], True]


def test_a_python_without_its_own_hashes_takes_openssl() -> None:
    code = f"""
sys.modules["_md5"] = None
import {HTTP}, hashlib
print(json.dumps([hello()[0], hashlib.sha256(b"").hexdigest()[:8]]))
"""
    assert outcome(code) == [[TLS_HANDSHAKE], "e3b0c442"]
