# SPDX-License-Identifier: Apache-2.0
"""The JSON that machines read: a contract, checked whole where it is small."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from eni_facts import IPV4_ONLY, any_facts, eni, host, mac
from hypothesis import given, settings

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.model.facts import Absent, Facts
from ec2net.core.model.objects import Address, LinkRef, LinkSetting, Route, Rule, Setting
from ec2net.core.model.plan import Action, Change, Conflict, Plan
from ec2net.core.report import as_json
from ec2net.core.state.codec import encode

LINK = LinkRef(3, "ens6")
DEFAULT = Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address("10.0.1.1"))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (LINK, "ens6"),
        (mac(1), "06:ec:02:00:00:01"),
        (ip_address("10.0.1.4"), "10.0.1.4"),
        (ip_interface("2001:db8::4/128"), "2001:db8::4/128"),
        (Setting.MTU, "mtu"),
        ((1, None, True, 0.5), [1, None, True, 0.5]),
        ({LINK: {mac(1)}}, {"ens6": ["06:ec:02:00:00:01"]}),
        (
            LinkSetting(LINK, Setting.MTU, 9001),
            {"link": "ens6", "setting": "mtu", "value": 9001},
        ),
    ],
)
def test_values_become_plain_data(value: object, plain: object) -> None:
    assert encode(value) == plain


def test_a_plan_is_written() -> None:
    before = Route(ip_network("0.0.0.0/0"), 10001, 0, LINK, ip_address("10.0.1.9"))
    rule = Rule(ip_network("10.0.1.4/32"), 9999, 254, 0, 236)
    address = Address(LINK, ip_interface("10.0.1.9/32"))
    plan = Plan(
        (
            Change(Action.REPLACE, DEFAULT, mac(1), before=before),
            Change(Action.REMOVE, rule, None),
        ),
        (Conflict(mac(1), address, address),),
    )
    gone = {
        "destination": "0.0.0.0/0",
        "table": 10001,
        "metric": 0,
        "link": "ens6",
        "gateway": "10.0.1.9",
        "source": None,
        "kind": "unicast",
    }
    assert as_json.plan(plan) == {
        "changes": [
            {
                "action": "replace",
                "kind": "route",
                "eni": "06:ec:02:00:00:01",
                "text": "route default via 10.0.1.1 dev ens6 table 10001",
                "item": {**gone, "gateway": "10.0.1.1"},
                "before": gone,
            },
            {
                "action": "remove",
                "kind": "rule",
                "eni": None,
                "text": "rule 9999: from 10.0.1.4/32 lookup main suppress_prefixlength 0"
                " suppress_ifgroup 236",
                "item": {
                    "source": "10.0.1.4/32",
                    "priority": 9999,
                    "table": 254,
                    "suppress_prefixlength": 0,
                    "suppress_group": 236,
                    "mark": None,
                    "destination": None,
                    "action": "lookup",
                },
                "before": None,
            },
        ],
        "conflicts": [
            {
                "eni": "06:ec:02:00:00:01",
                "text": "address 10.0.1.9/32 dev ens6: a foreign object is in its place: address "
                "10.0.1.9/32 dev ens6",
                "foreign": {"link": "ens6", "interface": "10.0.1.9/32"},
            }
        ],
    }


def test_an_eni_with_its_intent_is_written() -> None:
    outcome = compute(host(eni(0), eni(1, **IPV4_ONLY)), Config()).of(mac(1))
    assert outcome is not None
    form = as_json.eni(outcome)
    intent = form.pop("intent")
    assert form == {
        "mac": "06:ec:02:00:00:01",
        "eni_id": "eni-00000000000000001",
        "link": "ens6",
        "attached": None,
        "standing": "planned",
        "reason": "",
    }
    assert intent["number"] == {"card": 0, "device": 1}
    assert (intent["table"], intent["metric"], intent["manage"]) == (10001, 513, "full")
    assert (intent["base"], intent["further"]) == (["10.0.1.4/24"], ["10.0.1.9/32"])
    assert intent["main_routes"] == [
        "route default via 10.0.1.1 dev ens6 table main src 10.0.1.4 metric 513"
    ]
    assert len(intent["rules"]) == 4


def test_a_renamed_link_has_its_new_name() -> None:
    """Intents do not differ by it, and their JSON is remembered."""
    outcome = compute(host(eni(0), eni(1)), Config()).of(mac(1))
    assert outcome is not None
    assert outcome.intent is not None
    before = as_json.eni(outcome)["intent"]
    link = LinkRef(outcome.intent.link.index, "renamed")
    other = replace(outcome, intent=replace(outcome.intent, link=link))
    assert other == outcome
    after = as_json.eni(other)["intent"]
    assert (before["link"], after["link"]) == (str(outcome.intent.link), "renamed")


def test_an_intent_with_items_of_a_plugin_is_written() -> None:
    outcome = compute(host(eni(0), eni(1)), Config()).of(mac(1))
    assert outcome is not None
    assert outcome.intent is not None
    listed = replace(outcome.intent, altnames=["a", "b"])  # type: ignore[arg-type]
    assert as_json.eni(replace(outcome, intent=listed))["intent"]["altnames"] == ["a", "b"]


def test_an_eni_without_an_intent_is_written() -> None:
    outcome = compute(host(eni(0), eni(1, device_number=Absent())), Config()).of(mac(1))
    assert outcome is not None
    form = as_json.eni(outcome)
    assert (form["standing"], form["intent"]) == ("pending", None)


@settings(max_examples=30)
@given(any_facts())
def test_every_outcome_is_written(facts: Facts) -> None:
    for outcome in compute(facts, Config()).enis:
        form = as_json.eni(outcome)
        assert json.loads(json.dumps(form)) == form


def test_the_document_of_an_eni_that_is_gone_is_forgotten() -> None:
    """A daemon that keeps it grows by 20 KiB with each ENI that comes and goes."""
    enis = compute(host(eni(0), eni(1), eni(2)), Config()).enis
    for outcome in enis:
        as_json.eni(outcome)
    as_json.keep_only([enis[0].mac])
    assert as_json._known.keys() == {enis[0].mac}
