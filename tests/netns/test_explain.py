# SPDX-License-Identifier: Apache-2.0
"""The story of a host as a picture, and as a record for others."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from instance import Instance, two_enis

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    with two_enis(install, "story-", seed=None) as instance:
        yield instance


SVG = "{http://www.w3.org/2000/svg}"
QUOTED = r'"((?:[^"\\]|\\.)*)"'
ATTRIBUTES = rf"\[((?:[a-z]+={QUOTED} ?)*)\]"
STATEMENT = re.compile(rf"{QUOTED}(?: -> {QUOTED})?(?: {ATTRIBUTES})?;")
PREAMBLE = re.compile(rf"rankdir=LR;|(?:node|edge) {ATTRIBUTES};|label={QUOTED};")


def picture(dot: str) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Nodes and edges with their attributes. Every line must be of the language DOT."""
    head, *lines, end = dot.splitlines()
    assert (head, end) == ("digraph ec2net {", "}")
    nodes, edges = {}, []
    for line in lines:
        match = STATEMENT.fullmatch(line.strip())
        if match is None:
            assert PREAMBLE.fullmatch(line.strip()), line
        elif match[2] is None:
            nodes[match[1]] = match[3]
        else:
            edges.append((match[1], match[2], match[3] or ""))
    assert {end for one, other, _ in edges for end in (one, other)} <= nodes.keys()
    return nodes, edges


def test_the_picture_connects_each_source_with_its_link(settled: Instance) -> None:
    nodes, edges = picture(settled.ec2net("explain", "--dot").stdout)
    ways = {(one, other) for one, other, _ in edges}
    for source in ("10.0.2.4/30", "2001:db8:0:2::4/127", "2001:db8:0:2:1::/80"):
        rules = {other for one, other in ways if one == f"from {source}"}
        assert {other for one, other in ways if one in rules} == {"table 254", "table 10001"}
    assert ("table 10001", "link ens6") in ways
    assert ("table 10001", "link ens5") not in ways
    assert "card 0 device 1" in nodes["link ens6"]
    assert not any("style" in attributes for _, _, attributes in edges)


def test_the_picture_shows_the_changes_of_a_pass(settled: Instance) -> None:
    settled.guest.ip(["rule del priority 10001 from 10.0.2.4/30"])
    settled.guest.ip(["rule add priority 10001 from 10.0.2.99 lookup 10001 protocol 236"])
    _, edges = picture(settled.ec2net("explain", "--dot", "ens6").stdout)
    styles = {one: a for one, _, a in edges if one.startswith("from ") and "style" in a}
    assert "dashed" in styles.pop("from 10.0.2.4/30")
    assert "dotted" in styles.pop("from 10.0.2.99/32")
    assert styles == {}
    settled.ec2net("refresh")


def test_one_eni_and_an_odd_name_are_drawn(settled: Instance) -> None:
    name = 'a"\\b'
    settled.guest.ip(["link set ens6 down", f"link set ens6 name {name}", f"link set {name} up"])
    settled.ec2net("refresh")
    nodes, _ = picture(settled.ec2net("explain", "10.0.2.5", "--dot").stdout)
    assert {node for node in nodes if node.startswith("link")} == {'link a\\"\\\\b'}
    settled.guest.ip([f"link set {name} down", f"link set {name} name ens6", "link set ens6 up"])
    settled.ec2net("refresh")


def test_the_picture_can_be_rendered(settled: Instance) -> None:
    """graphviz accepts the picture's language, and the rendered text can be read."""
    nodes, edges = picture(settled.ec2net("explain", "--dot", "ens6").stdout)
    drawn = ElementTree.fromstring(settled.ec2net("explain", "--svg", "ens6").stdout)
    titles = [title.text or "" for title in drawn.iter(f"{SVG}title")]
    assert {title for title in titles if "->" not in title} == {*nodes, "ec2net"}
    assert {title for title in titles if "->" in title} == {f"{a}->{b}" for a, b, _ in edges}
    assert "card 0 device 1" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_without_a_link_or_an_address_explain_has_nothing_to_show(settled: Instance) -> None:
    assert "--svg" in settled.ec2net("explain", status=2).stderr


@pytest.mark.parametrize("manage", ["ignore", "no-addresses"])
@pytest.mark.parametrize("address", ["10.0.2.5", "10.0.2.225", "2001:db8:0:2::5"])
def test_an_unmanaged_address_is_explained_as_well(
    settled: Instance, manage: str, address: str
) -> None:
    """Users ask most often why such an address is unreachable."""
    settled.configure(f'[[eni]]\nmatch = {{ device = 1 }}\nmanage = "{manage}"\n')
    story = json.loads(settled.ec2net("explain", address, "--json").stdout)
    settled.configure()
    assert "ens6" in story["title"]
    assert story["imds"]["local-ipv4s"].startswith("10.0.2.4, 10.0.2.5")
    assert story["standing"] == ("ignored" if manage == "ignore" else "configured")
    if manage == "ignore":
        assert story["kernel"] == []


def replayed(instance: Instance, *options: str) -> tuple[str, dict[str, Any]]:
    """A record of the host, and the plan that is made from it."""
    file = Path(instance.config_root) / "record.json"
    instance.ec2net("record", str(file), *options)
    return file.read_text(), json.loads(
        instance.ec2net("plan", "--imds", str(file), "--json", status=None).stdout
    )


def test_a_record_gives_the_same_plan_also_without_ids(settled: Instance) -> None:
    settled.guest.ip(["rule del priority 10001 from 10.0.2.4/30"])
    text, plan = replayed(settled)
    hidden, other = replayed(settled, "--redact")
    assert [change["text"] for change in plan["changes"]] == [
        "rule 10001: from 10.0.2.4/30 lookup 10001"
    ]
    assert [change["text"] for change in other["changes"]] == [
        change["text"] for change in plan["changes"]
    ]
    for eni in settled.vpc.enis:
        assert str(eni.mac) in text
        assert str(eni.mac) not in hidden
    settled.ec2net("refresh")


def test_a_record_contains_the_host_and_no_secret_of_imds(settled: Instance) -> None:
    text, _ = replayed(settled)
    token = json.loads((settled.run_dir / "imds-token.json").read_text())
    assert str(token["token"]) not in text
    record = json.loads(text)
    assert [eni["link"] for eni in record["status"]["enis"]] == ["ens5", "ens6"]
    assert {choice["backend"] for choice in record["choices"].values()} == {"netlink"}
    assert record["host"]["kernel"] == os.uname().release
    assert set(record["imds"]["latest"]["meta-data"]) == {"mac", "network"}
