# SPDX-License-Identifier: Apache-2.0
"""Config to plain data and back; any content of a file gives settings or messages."""

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ec2net.core.config.schema import MATCH, SETTINGS
from ec2net.core.config.settings import (
    Altname,
    Config,
    DnsDefaultRoute,
    EniIdentity,
    EniSection,
    EniSettings,
    Ipv6Policy,
    MainDefault,
    MainTable,
    Manage,
    Match,
    MtuPolicy,
    PrefixMode,
    PrimaryRules,
    Profile,
    ResidentSettings,
    Rival,
    Role,
    Routing,
    Timeouts,
)
from ec2net.core.config.tree import from_dict, read_tree, to_dict
from ec2net.core.model.identity import Attached, EniId, Mac
from ec2net.core.model.numbers import HIGHEST, NumberPlan

names = st.text("abcz09-", min_size=1, max_size=20)
macs = st.binary(min_size=6, max_size=6).map(lambda b: Mac(b.hex(":")))
eni_ids = st.text("0123456789abcdef", min_size=17, max_size=17).map(lambda t: EniId(f"eni-{t}"))
globs = st.from_regex(r"[a-z]{1,5}(\*|\?|\[0-9\]|[0-9])", fullmatch=True)
subnets: st.SearchStrategy[IPv4Network | IPv6Network] = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
        lambda t: IPv4Network(t, strict=False)
    ),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
        lambda t: IPv6Network(t, strict=False)
    ),
)
mtus = st.one_of(st.sampled_from(MtuPolicy), st.integers(576, 65535))
main_defaults = st.one_of(st.sampled_from(MainDefault), st.integers(1, 2**32 - 1))

PER_ENI: dict[str, st.SearchStrategy[Any]] = {
    "manage": st.sampled_from(Manage),
    "backend": names,
    "routing": st.sampled_from(Routing),
    "primary_rules": st.sampled_from((*PrimaryRules, True, False)),
    "published_ports": st.booleans(),
    "ipv4_fast_failure": st.booleans(),
    "mtu": mtus,
    "ipv4_prefix_mode": st.sampled_from(PrefixMode),
    "ipv6_prefix_mode": st.sampled_from(PrefixMode),
    "main_default": main_defaults,
    "main_table": st.sampled_from(MainTable),
    "ipv6": st.sampled_from(Ipv6Policy),
    "altnames": st.lists(st.sampled_from(Altname), unique=True).map(tuple),
    "dns_default_route": st.sampled_from(DnsDefaultRoute),
    "coexist_with": st.lists(st.sampled_from(Rival), unique=True).map(tuple),
}


def several(of: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, unique=True, min_size=least, max_size=4).map(tuple)


matches = st.builds(
    Match,
    mac=several(macs),
    id=several(eni_ids),
    card=st.none() | st.integers(0, 31),
    device=st.none() | st.integers(0, 99),
    subnet=st.none() | subnets,
    name=several(globs),
    role=st.none() | st.sampled_from(Role),
    attached=st.none() | st.sampled_from(Attached),
).filter(lambda match: match != Match())

configs = st.builds(
    Config,
    eni=st.builds(EniSettings, **PER_ENI),
    profile=st.sampled_from(Profile),
    sections=st.lists(
        st.builds(
            EniSection,
            match=matches,
            settings=st.fixed_dictionaries({}, optional=PER_ENI),
        ),
        max_size=3,
    ).map(tuple),
    numbers=st.builds(
        NumberPlan,
        table_base=st.integers(256, 2**32 - 1 - HIGHEST),
        priority_base=st.integers(2, 19962),
        metric_base=st.integers(1, 2**32 - 1 - HIGHEST),
        protocol=st.integers(128, 185) | st.integers(199, 254),
        link_group=st.integers(1, 2**31 - 1),
        mark_shift=st.integers(0, 20),
    ),
    resident=st.builds(
        ResidentSettings,
        poll=st.floats(1, 3600),
        fast=st.floats(0.1, 600),
        fast_for=st.floats(0.1, 3600),
        debounce=st.floats(0.01, 10),
        repairs=st.integers(1, 600),
    ),
    timeouts=st.builds(
        Timeouts,
        pass_=st.floats(1, 300),
        link=st.floats(0.1, 600),
        lock=st.floats(0.1, 300),
    ),
    drivers=several(names, least=1),
    enabled_plugins=several(names),
    disabled_plugins=several(names),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=80),
    st.dates(),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
words = st.sampled_from(
    [*(w for key in SETTINGS for w in key.split(".")), *MATCH, "eni", "match", "mtuu"]
)
trees = st.dictionaries(
    words,
    st.one_of(
        anything,
        st.dictionaries(words, anything),
        st.lists(st.dictionaries(words, st.dictionaries(words, anything) | anything), max_size=3),
    ),
)


@given(configs)
def test_a_tree_survives_json(config: Config) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_the_stored_form_has_every_key() -> None:
    tree = to_dict(Config())
    flat = {
        f"{key}.{inner}" if inner else key
        for key, value in tree.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert flat == {*SETTINGS, "eni"}


@given(trees)
@example({"after": ["\U000e0001" * 80] * 3})
def test_any_tree_gives_settings_or_one_line_messages(tree: dict[str, Any]) -> None:
    messages: list[str] = []
    read_tree(tree, lambda problem, remedy: messages.extend((problem, remedy)))
    for message in messages:
        assert message.isprintable()
        assert len(message) < 1200


@given(st.text("ab[]!^-*?&|~\\x", min_size=1, max_size=15))
def test_an_allowed_glob_can_be_matched(text: str) -> None:
    """In Python some sets give a FutureWarning (an error here), or no valid pattern."""
    try:
        (glob,) = MATCH["name"].kind.parse(text)
    except ValueError:
        return
    Match(name=(glob,)).matches(EniIdentity(mac=Mac("06:53:e1:d8:f9:29"), link_name="ens5"))
