# SPDX-License-Identifier: Apache-2.0
"""requests without its detection of character sets, until a caller needs it."""

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
