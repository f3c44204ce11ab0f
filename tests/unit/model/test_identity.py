# SPDX-License-Identifier: Apache-2.0
"""Names from outside: which are accepted or refused, and the message."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.model.identity import LINK_NAME_MAX, EniId, Mac, parse_link_name


@pytest.mark.parametrize(
    "text", ["06:53:e1:d8:f9:29", "06:53:E1:D8:F9:29", "06:53:e1:d8:f9:29/", " 06:53:e1:d8:f9:29\n"]
)
def test_every_spelling_of_a_mac_in_imds_is_one_mac(text: str) -> None:
    assert Mac.parse(text) == Mac("06:53:e1:d8:f9:29")


@pytest.mark.parametrize(
    "text",
    ["", "06:53:e1:d8:f9", "06:53:e1:d8:f9:2g", "06-53-e1-d8-f9-29", "06:53:e1:d8:f9:29:00",
     "../06:53:e1:d8:f9:29", "06:53:e1:d8:f9:29\n06:53:e1:d8:f9:2a", "٠٦:53:e1:d8:f9:29", "x" * 10**6],
)  # fmt: skip
def test_invalid_text_is_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="is not a MAC address") as caught:
        Mac.parse(text)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@given(st.binary(min_size=6, max_size=6))
def test_every_mac_survives_its_text(raw: bytes) -> None:
    text = raw.hex(":")
    assert str(Mac.parse(text.upper())) == text


@pytest.mark.parametrize("text", ["eni-0304feb62015b7959", "eni-0304feb6", " eni-0304feb6\n"])
def test_a_valid_id_is_an_eni_id(text: str) -> None:
    assert str(EniId.parse(text)) == text.strip()


@pytest.mark.parametrize(
    "text", ["", "eni-", "eni-0304FEB6", "eni-0304feb", "i-0304feb62015b7959", "eni-0304feb6/../x"]
)
def test_invalid_text_is_no_eni_id(text: str) -> None:
    with pytest.raises(ValueError, match="is not an ENI id"):
        EniId.parse(text)


@pytest.mark.parametrize(
    "name", ["ens6", "eth0", "enp39s0", "a" * 15, "eni1a2b3c4d5e6", "wan-1.7", "ü" * 7]
)
def test_a_valid_name_is_a_link_name(name: str) -> None:
    assert parse_link_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "a link name cannot be empty"),
        (".", "'.' is not a link name"),
        ("..", "'..' is not a link name"),
        ("../x", "'../x' has a character that link names cannot have"),
        ("a/b", "'a/b' has a character that link names cannot have"),
        ("ens6:1", "'ens6:1' has a character that link names cannot have"),
        ("ens 6", "'ens 6' has a character that link names cannot have"),
        ("ens6\n", r"'ens6\n' has a character that link names cannot have"),
        ("ens6\0", r"'ens6\x00' has a character that link names cannot have"),
        ("a" * 16, "'aaaaaaaaaaaaaaaa' is longer than 15 bytes"),
        ("ü" * 8, "'üüüüüüüü' is longer than 15 bytes"),
        # an argument that is not UTF-8
        ("ens\udcff", r"'ens\udcff' has a character that link names cannot have"),
    ],
)
def test_invalid_text_is_no_link_name(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        parse_link_name(name)


@given(st.text())
def test_a_link_name_can_be_a_file_name(text: str) -> None:
    try:
        name = parse_link_name(text)
    except ValueError:
        return
    assert name == text
    assert 0 < len(name.encode()) <= LINK_NAME_MAX
    assert not set("/\0:") & set(name)
    assert name not in (".", "..")
    assert name.split() == [name]
