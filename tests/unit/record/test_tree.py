# SPDX-License-Identifier: Apache-2.0
"""``plan --imds`` takes a tree of IMDS as other tools write it, and a record's own configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ec2net.core.cli.main import main
from ec2net.core.config.settings import Config, EniSettings, Manage
from ec2net.core.config.tree import to_dict
from ec2net.core.record.tree import imds_tree

FIRST, SECOND = "06:ec:02:00:00:aa", "06:ec:02:00:00:bb"
MACS: dict[str, Any] = {
    FIRST: {
        "device-number": "0",
        "interface-id": "eni-0000000a",
        "local-ipv4s": "10.0.0.5\n10.0.0.9",
        "subnet-ipv4-cidr-block": "10.0.0.0/20",
    },
    SECOND: {
        "device-number": "1",
        "interface-id": "eni-0000000b",
        "ipv4-associations": {"192.0.2.1": "10.0.0.6"},
        "local-ipv4s": "10.0.0.6\n10.0.0.7",
        "ipv6s": "",
        "subnet-ipv4-cidr-block": "10.0.0.0/20",
    },
}
META_DATA = {"mac": FIRST, "network": {"interfaces": {"macs": MACS}}}
USUAL = {"latest": {"meta-data": META_DATA}}


def changed(node: Any, name: Callable[[str], str], value: Callable[[str], Any]) -> Any:
    """``node`` with other names and values throughout."""
    if isinstance(node, dict):
        return {name(key): changed(one, name, value) for key, one in node.items()}
    return value(node)


def as_it_is(text: str) -> str:
    return text


def slashed(text: str) -> str:
    return f"{text}/" if ":" in text or text in ("network", "macs") else text


def as_list(text: str) -> Any:
    return text.split("\n") if "\n" in text or not text else text


def as_number(text: str) -> Any:
    return int(text) if text.isdigit() else text


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(USUAL, id="all of IMDS"),
        pytest.param({"meta-data": META_DATA}, id="below latest"),
        pytest.param(META_DATA, id="below meta-data"),
        pytest.param({"ds": {"meta_data": META_DATA}, "v1": {"region": "x"}}, id="cloud-init"),
        pytest.param(MACS, id="the ENIs alone"),
        pytest.param(
            {
                "mac": FIRST.upper(),
                "network": {"interfaces": {"macs": {mac.upper(): MACS[mac] for mac in MACS}}},
            },
            id="capitals",
        ),
        pytest.param(changed(USUAL, slashed, as_it_is), id="trailing slashes"),
        pytest.param(changed(USUAL, as_it_is, as_list), id="lists"),
        pytest.param(changed(USUAL, as_it_is, as_number), id="numbers"),
    ],
)
def test_each_form_of_a_tree_gives_the_same_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tree: dict[str, Any]
) -> None:
    assert planned(tmp_path, capsys, tree) == planned(tmp_path, capsys, USUAL)


def planned(tmp_path: Path, capsys: pytest.CaptureFixture[str], document: Any) -> str:
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(document))
    assert main(["plan", "--imds", str(file), "--config-root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "10.0.0.9/32 dev eni0" in said or "record" in said
    return said


def test_a_plan_lists_each_item_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = {
        mac: {**keys, "local-ipv4s": keys["local-ipv4s"].split("\n") * 2}
        for mac, keys in MACS.items()
    }
    lines = planned(tmp_path, capsys, {**lists, f"{SECOND.upper()}/": lists[SECOND]}).splitlines()
    assert len(lines) == len(set(lines))
    assert lines == planned(tmp_path, capsys, MACS).splitlines()


def test_the_configuration_of_a_record_counts_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(tmp_path, capsys, USUAL).startswith(
        "Planned with the configuration of this host.\n"
    )
    config = to_dict(Config(eni=EniSettings(manage=Manage.IGNORE)))
    said = planned(tmp_path, capsys, {"imds": USUAL, "config": config})
    assert said.startswith("Planned with the configuration of the record.\n")
    assert said.count('ignored: the configuration sets manage = "ignore"') == 2


def test_a_key_that_the_record_could_not_read_is_not_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"latest/meta-data/network/interfaces/macs/{SECOND}/local-ipv4s"
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"imds": USUAL, "unread": {path: "HTTP 503"}}))
    assert main(["plan", "--imds", str(file), "--config-root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "eni-0000000b local-ipv4s: HTTP 503" in said
    assert "pending: no address is known: local-ipv4s HTTP 503" in said


def test_a_tree_without_the_mac_of_the_primary_has_one_possible_primary() -> None:
    meta_data = {"network": {"interfaces": {"macs": MACS}}}
    assert imds_tree(meta_data)["latest"]["meta-data"]["mac"] == FIRST
    two = {**MACS, SECOND: {**MACS[SECOND], "device-number": "0"}}
    assert "mac" not in imds_tree(two)["latest"]["meta-data"]
