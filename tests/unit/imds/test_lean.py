# SPDX-License-Identifier: Apache-2.0
"""requests without what IMDS never needs, until a caller needs it."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.library

CODE = """
import json, sys, warnings
warnings.simplefilter("error")
import ec2net.core.imds.transport
def loaded():
    return sorted(m for m in sys.modules if m.startswith(("chardet.", "charset_normalizer.")))
before = loaded()
import requests
answer = requests.Response()
answer._content = "Grüße aus Köln, schöne Grüße".encode("utf-8")
text = answer.text
print(json.dumps([before, bool(loaded()), text]))
"""


def test_modules_that_guess_encodings_are_loaded_only_by_their_users() -> None:
    """In a separate process: a plugin may use requests in any way."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [[], True, "Grüße aus Köln, schöne Grüße"]


OTHERS = """
import json, sys
import ec2net.core.imds.transport
from ec2net.core.kernel import pyroute
from ec2net.core.model.fingerprint import fingerprint
fingerprint(None, ())
pyroute.message_class("rtmsg")
heavy = {"_ssl", "_hashlib", "OpenSSL", "idna.core", "importlib.metadata", "multiprocessing"}
before = sorted(heavy & sys.modules.keys())
import idna, ssl, importlib.metadata, certifi, multiprocessing
name = idna.encode("köln.de").decode()
whole = bool(certifi.where() and importlib.metadata.version("idna"))
print(json.dumps([before, name, whole, issubclass(multiprocessing.Process, object)]))
"""


def test_the_other_modules_are_whole_for_their_users() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHERS], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [[], "xn--kln-sna.de", True, True]
