# SPDX-License-Identifier: Apache-2.0
"""A bug report contains no real address or id, and still describes the same host."""

import json

import pytest

from ec2net.core.record.redact import redacted

MAC, OTHER = "06:53:e1:d8:f9:29", "06:11:22:33:44:55"


def test_each_original_has_one_substitute_in_order() -> None:
    text = f"{MAC} {OTHER.upper()}/ eni-0304feb62015b7959 {MAC} eni-0104feb62015b7959"
    assert redacted(text) == (
        "02:00:00:00:00:02 02:00:00:00:00:01/ eni-00000000000000002 02:00:00:00:00:02"
        " eni-00000000000000001"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("fe80::453:e1ff:fed8:f929", "fe80::ff:fe00:1"),
        ("fe80::453:e1ff:fed8:f929/64", "fe80::ff:fe00:1/64"),
        ("2001:db8:0:1:453:e1ff:fed8:f929", "2001:db8:0:1:0:ff:fe00:1"),
        ("enx0653e1d8f929", "enx020000000001"),
    ],
)
def test_values_derived_from_a_mac_are_replaced_too(before: str, after: str) -> None:
    text = json.dumps({"mac": MAC, "other": before})
    assert json.loads(redacted(text)) == {"mac": "02:00:00:00:00:01", "other": after}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"several links have its MAC {MAC}: a, b", "several links have its MAC {}: a, b"),
        (f"{MAC}: pending", "{}: pending"),
        (f"by {MAC}.", "by {}."),
    ],
)
def test_text_after_a_mac_does_not_hide_it(before: str, after: str) -> None:
    assert redacted(before) == after.format("02:00:00:00:00:01")


def test_an_address_at_the_end_of_a_sentence_is_replaced() -> None:
    assert redacted(f"{MAC} has fe80::453:e1ff:fed8:f929.").endswith(" has fe80::ff:fe00:1.")


@pytest.mark.parametrize(
    "text",
    [
        "10.0.2.4/30 2001:db8:0:2::4/127 fe80:ec2::1 ::/0 :: 12:30:45",
        "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff",
        "2001:db8:12:34:56:78:9a:bc 20:01:db:08:12:34:56:78",
        "eni- eni-xyz ens6",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redacted(f"{MAC} {text}") == f"02:00:00:00:00:01 {text}"
