# SPDX-License-Identifier: Apache-2.0
"""Histories of IMDS, from its text to the intents: each wrong or late answer is forgotten in the end."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eni_facts import link
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ec2net.core.config.settings import Config, EniOverrides, EniSection, Manage, Match
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent, Standing
from ec2net.core.decide.last_known import with_last_known_good
from ec2net.core.imds.reader import read_facts
from ec2net.core.imds.source import RecordedImds
from ec2net.core.model.facts import EniFacts, Facts, Value
from ec2net.core.model.identity import EniId, Mac
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.state.last_known import from_json, to_json

MACS = [f"06:ec:02:00:00:{n:02x}" for n in range(4)]
LINKS = tuple(link(n) for n in range(4))
STEPS_MIN = 6


def keys(n: int, *, cards: bool) -> dict[str, str]:
    """The keys of ENI ``n``, as IMDS has them in the end: 1 and 3 are on device 1, if there are cards."""
    card, device = (n // 2, n % 2) if cards else (0, n)
    tree = {
        "interface-id": f"eni-{n:08x}",
        "device-number": str(device),
        "local-ipv4s": f"10.0.{n}.4\n10.0.{n}.9",
        "ipv6s": f"2001:db8:0:{n:x}::4\n2001:db8:0:{n:x}::9",
        "ipv4-prefix": f"10.0.{n}.224/28",
        "subnet-ipv4-cidr-block": f"10.0.{n}.0/24",
        "subnet-ipv6-cidr-blocks": f"2001:db8:0:{n:x}::/64",
    }
    return {**tree, "network-card": str(card)} if cards else tree


def wrong(n: int) -> dict[str, list[str]]:
    """What a key of ENI ``n`` may be instead: well-formed, and not so."""
    return {
        "interface-id": ["eni-0000beef"],
        "device-number": ["0", "1", "2", "7"],
        "network-card": ["0", "1", "5"],
        "local-ipv4s": [f"10.0.{n}.4", f"10.0.{n}.4\n10.0.{n}.9\n10.0.{n}.17"],
        "ipv6s": [f"2001:db8:0:{n:x}::4", f"2001:db8:0:{n:x}::4\n2001:db8:0:{n:x}::7"],
        "ipv4-prefix": [f"10.0.{n}.240/28"],
        "subnet-ipv4-cidr-block": ["10.0.0.0/16"],
        "subnet-ipv6-cidr-blocks": ["2001:db8::/48"],
    }


@dataclass
class Host:
    """What outlives a pass: facts, as they are stored, and the primary."""

    config: Config
    known: dict[Mac, EniFacts] = field(default_factory=dict)
    primary: Mac | None = None

    def look(self, tree: Mapping[str, Any], only: Sequence[Mac] | None = None) -> HostIntent:
        wanted = [Mac(mac) for mac in MACS] if only is None else only
        imds = RecordedImds({"latest": {"meta-data": tree}})
        heard = read_facts(imds, wanted, self.known, self.primary, Deadline(60, "the test"))
        facts = with_last_known_good(heard, self.known, self.primary)
        host = compute(Facts(facts, LINKS), self.config)
        refused = {eni.mac for eni in host.enis if eni.standing is Standing.REFUSED}
        good = {e.mac: from_json(to_json(e)) for e in facts.enis if e.mac not in refused}
        self.known = {**{m: e for m, e in self.known.items() if m in refused}, **good}
        if isinstance(facts.primary, Value):
            self.primary = facts.primary.value
        return host


def tree_of(enis: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    macs = {mac: dict(keys) for mac, keys in zip(MACS, enis, strict=True)}
    return {"mac": MACS[0], "network": {"interfaces": {"macs": macs}}}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """At least six states of IMDS in which keys of two ENIs or more are late, empty or wrong."""
    right = [keys(n, cards=draw(st.just(True) | st.booleans())) for n in range(4)]
    if len({"network-card" in one for one in right}) > 1:
        right = [keys(n, cards=False) for n in range(4)]
    steps = draw(st.integers(STEPS_MIN, 9))
    states = [copy.deepcopy(right) for _ in range(steps)]
    for n in sorted(draw(st.sets(st.integers(1, 3), min_size=2))):
        for key in right[n]:
            trouble = draw(st.sampled_from(["none", "none", "late", "empty", "wrong", "gone"]))
            at = draw(st.integers(0, steps - 3))
            if trouble == "late":
                for state in states[: at + 1]:
                    state[n].pop(key, None)
            elif trouble == "gone":
                states[at][n].pop(key, None)
            elif trouble == "empty":
                states[at][n][key] = ""
            elif trouble == "wrong":
                states[at][n][key] = draw(st.sampled_from(wrong(n)[key]))
    return [tree_of(state) for state in states], right


MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(histories(), st.booleans())
def test_a_history_ends_as_if_imds_had_been_right_from_the_start(
    history: tuple[list[dict[str, Any]], list[dict[str, str]]], alone: bool
) -> None:
    states, right = history
    event(f"{len(states)} steps")
    config = Config()
    host, fresh = Host(config), Host(config)
    for step, state in enumerate(states):
        host.look(state, [Mac(MACS[2])] if alone and step % 2 else None)
    end = tree_of(right)
    found = [host.look(end) for _ in range(2)][-1]
    wanted = [fresh.look(end) for _ in range(2)][-1]
    assert found == wanted
    assert {eni.standing for eni in found.enis} == {Standing.READY}


SECTIONS = st.sampled_from(
    [
        ("card", Match(card=1)),
        ("device", Match(device=1)),
        ("id", Match(id=(EniId("eni-00000003"),))),
        ("card and id", Match(card=1, id=(EniId("eni-00000003"),))),
    ]
)


@MANY
@given(st.data(), SECTIONS)
def test_an_eni_that_is_ignored_in_the_end_is_never_ready_however_late_its_keys_are(
    data: st.DataObject, section: tuple[str, Match]
) -> None:
    right = [keys(n, cards=True) for n in range(4)]
    ignoring = Config(sections=(EniSection(section[1], EniOverrides(manage=Manage.IGNORE)),))
    end = Host(ignoring).look(tree_of(right))
    ignored = {eni.mac for eni in end.enis if eni.standing is Standing.IGNORED}
    assert ignored
    late = {
        (n, key): data.draw(st.integers(0, STEPS_MIN), label=f"{n} {key}")
        for n in (2, 3)
        for key in right[n]
    }
    host = Host(ignoring)
    for step in range(STEPS_MIN):
        state = copy.deepcopy(right)
        for (n, key), until in late.items():
            if step < until:
                del state[n][key]
        ready = {eni.mac for eni in host.look(tree_of(state)).ready}
        assert not ready & ignored
    found = host.look(tree_of(right))
    assert {eni.mac for eni in found.ready} == {eni.mac for eni in end.ready}
