# SPDX-License-Identifier: Apache-2.0
"""Names of any bytes that a kernel allows: kept to the last one, and escaped wherever they are shown."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from eni_facts import eni, host, link, mac
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.cli.output import printable_output
from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import Standing
from ec2net.core.host.missed_events import _unescaped, escaped
from ec2net.core.model.identity import OddName, link_name, parse_link_name, printable
from ec2net.core.model.objects import LinkRef, LinkSetting, Setting
from ec2net.core.model.plan import Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report import as_json
from ec2net.core.report.log_lines import lines
from ec2net.core.runtime.log import Printable

ODD = [
    b"\xff\xfe",
    b"a\x1b[2Jb",
    b"bell\x07",
    "x\u202ey".encode(),
    b"\xe2\x80",
    b"\x7f",
    b"\xc2\x9bm",
]

names = st.binary(min_size=1, max_size=15).filter(
    lambda raw: not set(raw) & set(b"/: \t\n\v\f\r\0\xa0") and raw not in (b".", b"..")
)
"""As dev_valid_name in net/core/dev.c defines it."""


def safe(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


@given(names)
def test_a_name_keeps_every_byte(raw: bytes) -> None:
    assert os.fsencode(link_name(raw)) == raw
    assert link_name(raw) == os.fsdecode(raw)
    assert json.loads(json.dumps(link_name(raw))) == os.fsdecode(raw)


@given(names)
def test_every_output_escapes_a_name(raw: bytes) -> None:
    name = link_name(raw)
    ref = LinkRef(7, name)
    setting = LinkSetting(ref, Setting.ALTNAME, name)
    for text in (f"{name}", str(name), f"{name:>20}", f"{ref}", str(ref), setting.describe()):
        assert safe(text)
    assert ("\\" in f"{name}") >= isinstance(name, OddName)


@given(st.text() | st.binary().map(os.fsdecode))
def test_printable_characters_stay_and_others_are_escaped(text: str) -> None:
    shown = printable(text)
    assert safe(shown)
    assert "\n" not in shown
    assert (shown == text) is text.isprintable()
    shown.encode()  # it can be printed anywhere
    assert printable(text, keep="\n").count("\n") == text.count("\n")


@given(names)
def test_a_unit_name_contains_the_bytes_of_the_link_name(raw: bytes) -> None:
    """As systemd-escape(1) escapes it."""
    assert os.fsencode(_unescaped(escaped(link_name(raw)))) == raw


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_a_unit_for_an_odd_name_is_refused_with_its_name_escaped(raw: bytes) -> None:
    with pytest.raises(ValueError, match="character that link names cannot have") as caught:
        parse_link_name(os.fsdecode(raw))
    assert safe(str(caught.value))


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_an_eni_with_an_odd_name_is_refused_alone_and_reported(raw: bytes) -> None:
    enis = [eni(0), eni(1), eni(2)]
    plain = host(*enis)
    odd = replace(
        plain,
        links=tuple(replace(x, name=link_name(raw)) if x == link(1) else x for x in plain.links),
    )
    before, after = (compute(facts, Config()) for facts in (plain, odd))
    assert [one for one in after.enis if one.mac != mac(1)] == [
        one for one in before.enis if one.mac != mac(1)
    ]
    outcome = after.of(mac(1))
    assert outcome is not None
    assert outcome.standing is Standing.REFUSED
    assert "rename the link" in outcome.reason
    (said,) = lines(PassReport(after, Plan(), {}))
    assert safe(said.text)
    json.dumps(as_json.eni(outcome))


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_an_odd_altname_has_no_effect(raw: bytes) -> None:
    plain = host(eni(0), eni(1))
    odd = replace(
        plain, links=tuple(replace(one, altnames=(link_name(raw),)) for one in plain.links)
    )
    assert compute(odd, Config()) == compute(plain, Config())


@given(st.text() | st.binary().map(os.fsdecode))
def test_the_log_and_the_output_are_escaped(text: str) -> None:
    record = logging.LogRecord("ec2net", logging.ERROR, "", 0, "%s", (text,), None)
    assert safe(Printable("%(message)s").format(record))
    before, out = sys.stdout, StringIO()
    sys.stdout = out
    try:
        with printable_output():
            print(text)
    finally:
        sys.stdout = before
    assert safe(out.getvalue().replace("\t", ""))


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_an_argument_of_any_bytes_is_refused_in_one_safe_line(tmp_path: Path, raw: bytes) -> None:
    """As a unit instance passes it (``ec2net@...``)."""
    command = [
        sys.executable,
        "-m",
        "ec2net",
        "start",
        "--run-dir",
        str(tmp_path),
        os.fsdecode(raw),
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    text = done.stderr.decode()  # raises if it is not UTF-8
    assert safe(text)
    assert "Traceback" not in text


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_a_status_of_any_bytes_is_shown_escaped(tmp_path: Path, raw: bytes) -> None:
    status = {"version": 1, "problems": [os.fsdecode(raw)], "enis": []}
    (tmp_path / "status.json").write_text(json.dumps(status))
    command = [sys.executable, "-m", "ec2net", "status", "--run-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert safe((done.stdout + done.stderr).decode())
    assert b"Traceback" not in done.stderr
