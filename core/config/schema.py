# SPDX-License-Identifier: Apache-2.0
"""Every setting there is, as data: key, kind, default, meaning.

Validation, ``ec2net config --show``, the example file and the manual page all come from here. The
defaults are those of ``Config()``, in ``settings.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ec2net.core.config.kinds import (
    CIDR,
    ENI_ID,
    FLAG,
    GLOB,
    MAC,
    SOURCE,
    Kind,
    choice,
    choice_or_flag,
    choice_or_whole,
    matching,
    plain,
    seconds,
    several,
    toml_value,
    whole,
)
from ec2net.core.config.settings import (
    Altname,
    Config,
    DnsDefaultRoute,
    Ipv6Policy,
    MainDefault,
    MainTable,
    Manage,
    MtuPolicy,
    PrefixMode,
    PrimaryRules,
    Profile,
    Rival,
    Role,
    Routing,
)
from ec2net.core.model.identity import Attached
from ec2net.core.model.numbers import CARDS, DEVICES, HIGHEST, MARK_BITS
from ec2net.core.model.objects import LAST_PRIORITIES

_U32_MAX = 2**32 - 1

BUILT_IN = Config()


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as of ``[[eni]] match``, with what it may hold."""

    key: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, slots=True)
class Setting(Key):
    """One that sets something. ``field`` is where ``Config`` has its value, as attributes."""

    field: str

    @property
    def default(self) -> Any:
        """The built-in value, as TOML has it."""
        return plain(attrgetter(self.field)(BUILT_IN))


_NAME = r"[a-z0-9-]{1,64}"


def _per_eni(key: str, kind: Kind, meaning: str) -> Setting:
    return Setting(key, kind, meaning, f"eni.{key}")


PER_ENI: tuple[Setting, ...] = (
    _per_eni(
        "manage",
        choice(Manage),
        "How much of the ENI ec2net configures. full: everything. no-addresses: everything except"
        " secondary addresses and prefixes, on the link and in rules. no-rules: everything except"
        " rules. observe: nothing, but ec2net reports differences. ignore: nothing.",
    ),
    _per_eni(
        "backend",
        matching(_NAME, 'a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        'The backend that configures the ENI. "auto": the one that fits the link\'s network manager.',
    ),
    _per_eni(
        "routing",
        choice(Routing),
        "How traffic from an ENI's address is routed. main-first: through that ENI, unless the main"
        " table has a more specific route to a device that is not an ENI. strict: always through"
        " that ENI. off: ec2net makes no rules and no tables.",
    ),
    _per_eni(
        "primary_rules",
        choice_or_flag(PrimaryRules),
        "Whether the primary ENI gets rules and a table as secondary ENIs do. auto: only rules that keep"
        " its traffic from another ENI where a route in the main table leads through that one.",
    ),
    _per_eni(
        "published_ports",
        FLAG,
        "Whether replies of forwarded connections (a container's published port) leave through the"
        " secondary ENI on which the connection arrived. ec2net marks packets for this and needs nft.",
    ),
    _per_eni(
        "mtu",
        choice_or_whole(MtuPolicy, whole(576, 65535)),
        "MTU of the link. dhcp: the DHCP server's value. keep: left unchanged. Or a number of bytes;"
        " IPv6 needs at least 1280.",
    ),
    _per_eni(
        "ipv4_prefix_mode",
        choice(PrefixMode),
        "How ec2net uses delegated IPv4 prefixes. rules: rules only. local: rules, and every"
        " address is also local to the host. none: nothing.",
    ),
    _per_eni(
        "ipv6_prefix_mode",
        choice(PrefixMode),
        "How ec2net uses delegated IPv6 prefixes. rules: rules only. local: rules, and every"
        " address is also local to the host. none: nothing.",
    ),
    _per_eni(
        "routed",
        several(SOURCE, may_be_empty=True),
        "Secondary addresses of the ENI that containers have: ec2net makes rules for them and never"
        " adds them to the host. A network stands for the ENI's addresses in it.",
    ),
    _per_eni(
        "sources",
        several(SOURCE, may_be_empty=True),
        "Addresses and networks that IMDS does not list, and whose traffic leaves through the ENI: a"
        " container network, a virtual IP address, a service chain.",
    ),
    _per_eni(
        "main_default",
        choice_or_whole(MainDefault, whole(1, _U32_MAX)),
        "Whether the main table gets a default route through the ENI. A number: yes, with this metric.",
    ),
    _per_eni(
        "main_table",
        choice(MainTable),
        "How a secondary ENI and the main table are connected. joined: main shows the ENI's subnet,"
        " behind a route through the primary ENI. apart: main has only the ENI's default route, and primary_rules"
        " = auto makes no rules.",
    ),
    _per_eni(
        "ipv6",
        choice(Ipv6Policy),
        "Whether the ENI uses IPv6. auto: if its subnet has IPv6.",
    ),
    _per_eni(
        "altnames",
        several(choice(Altname), may_be_empty=True),
        "Alternative names that the link gets: the ENI's id; its card and device number.",
    ),
    _per_eni(
        "coexist_with",
        several(choice(Rival), may_be_empty=True),
        "Other tools that may configure the ENI together with ec2net. ec2net leaves an ENI unchanged"
        " while one of these tools manages it and is not listed here.",
    ),
    _per_eni(
        "dns_default_route",
        choice(DnsDefaultRoute),
        "Whether systemd-resolved may send queries for any domain to the ENI's DNS servers. auto: only"
        " for the primary ENI; a .network file that another tool wrote takes precedence. yes and no"
        " need the networkd backend.",
    ),
    _per_eni(
        "ipv4_fast_failure",
        FLAG,
        "Whether IPv4 connections beyond the host fail at once, instead of after minutes, while no ENI"
        " has IPv4 (IPv6-only subnets). ec2net reads the primary ENI's value.",
    ),
)
"""At the top for every ENI, and in ``[[eni]]`` sections for those that match."""

HOST: tuple[Setting, ...] = (
    Setting(
        "profile",
        choice(Profile),
        "Built-in sections, used before all [[eni]] sections. kubernetes: a CNI plugin manages the"
        " ENIs that are attached after boot, and all secondary addresses and prefixes of the others.",
        "profile",
    ),
    Setting(
        "metrics_file",
        matching(
            r"|/[^\x00-\x1f]*[^\x00-\x1f/]\.prom", 'empty, or an absolute path that ends in ".prom"'
        ),
        "The metrics file for node_exporter's textfile collector. Empty: no file.",
        "metrics_file",
    ),
    Setting(
        "numbers.table_base",
        # 253 to 255 are default, main and local
        whole(256, _U32_MAX - HIGHEST),
        "Routing table of number 0 (an ENI's number is 100 * card + device).",
        "numbers.table_base",
    ),
    Setting(
        "numbers.priority_base",
        # from 2, since main-first rules sit one lower and 0 is the local table's
        whole(2, LAST_PRIORITIES.start - 1 - HIGHEST),
        "Rule priority of number 0. Main-first rules have the priority one below.",
        "numbers.priority_base",
    ),
    Setting(
        "numbers.metric_base",
        whole(1, _U32_MAX - HIGHEST),
        "Metric of the default route of number 0 in the main table.",
        "numbers.metric_base",
    ),
    Setting(
        "numbers.protocol",
        # FRR's zebra/rt_netlink.h; with one of these, its routes would count as ours
        whole(128, 254, taken=range(186, 199), taken_by="routing daemons use those"),
        "Protocol number that marks ec2net's routes, rules and addresses.",
        "numbers.protocol",
    ),
    Setting(
        "numbers.link_group",
        whole(1, 2**31 - 1),
        "Link group that ec2net gives to all ENIs.",
        "numbers.link_group",
    ),
    Setting(
        "numbers.mark_shift",
        whole(0, 32 - MARK_BITS),
        "The lowest of the 12 bits of the packet mark that published_ports uses.",
        "numbers.mark_shift",
    ),
    Setting(
        "links.drivers",
        several(matching(r"[A-Za-z0-9_.-]{1,31}", "a driver's name")),
        "Kernel drivers whose links can be ENIs.",
        "drivers",
    ),
    Setting(
        "timeouts.pass",
        seconds(1, 300),
        "The longest that one pass over all ENIs may take, in seconds.",
        "timeouts.pass_",
    ),
    Setting(
        "timeouts.link",
        seconds(0.1, 600),
        "How long 'ec2net start LINK' waits for the link, in seconds.",
        "timeouts.link",
    ),
    Setting(
        "timeouts.lock",
        seconds(0.1, 300),
        "How long a pass waits for another pass to end, in seconds.",
        "timeouts.lock",
    ),
    Setting(
        "resident.poll",
        seconds(1, 3600),
        "How often the daemon polls IMDS and runs a pass, in seconds.",
        "resident.poll",
    ),
    Setting(
        "resident.fast",
        seconds(0.1, 600),
        "How often the daemon polls a new ENI, in seconds.",
        "resident.fast",
    ),
    Setting(
        "resident.fast_for",
        seconds(0.1, 3600),
        "How long a new ENI is polled quickly, in seconds.",
        "resident.fast_for",
    ),
    Setting(
        "resident.debounce",
        seconds(0.01, 10),
        "How long the daemon collects kernel events before it runs one pass for all, in seconds.",
        "resident.debounce",
    ),
    Setting(
        "resident.repairs",
        whole(1, 600),
        "How many repairs the daemon makes in a minute. Further repairs wait for the next poll.",
        "resident.repairs",
    ),
    Setting(
        "rollback.after",
        seconds(0, 60),
        "A change is rolled back when IMDS or the default gateway was reachable before the change and"
        " is unreachable for this many seconds after it. 0: never.",
        "rollback_after",
    ),
    Setting(
        "plugins.enabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins that ec2net loads by their entry point, in addition to the chosen backends. If one"
        " cannot be loaded, ec2net changes nothing.",
        "enabled_plugins",
    ),
    Setting(
        "plugins.disabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins that ec2net does not load.",
        "disabled_plugins",
    ),
)
"""Of the whole host."""

SETTINGS: dict[str, Setting] = {s.key: s for s in (*PER_ENI, *HOST)}
SECTION_SETTINGS: dict[str, Setting] = {s.key: s for s in PER_ENI}
TABLES: tuple[str, ...] = tuple(
    dict.fromkeys(s.key.partition(".")[0] for s in HOST if "." in s.key)
)

TOP: dict[str, Setting] = {s.key: s for s in HOST if "." not in s.key}
"""Of the host, without a table."""

MATCH: dict[str, Key] = {
    c.key: c
    for c in (
        Key("mac", several(MAC, one_will_do=True), "The ENI's MAC address."),
        Key("id", several(ENI_ID, one_will_do=True), "The ENI's id."),
        Key("card", whole(0, CARDS - 1), "The index of the ENI's network card."),
        Key("device", whole(0, DEVICES - 1), "The ENI's device number on the card."),
        Key("subnet", CIDR, "A network that contains the ENI's subnet."),
        Key("name", several(GLOB, one_will_do=True), "The name of the ENI's link."),
        Key("role", choice(Role), "The instance's primary ENI, or a secondary one."),
        Key(
            "attached",
            choice(Attached),
            "Whether the ENI was attached at boot or later; the primary ENI counts as boot.",
        ),
    )
}

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Configuration of ec2net: every setting with its default. Do not change this file. Write changed
# settings into /etc/ec2net/ec2net.toml.d/NAME.toml instead.
"""

_SECTION = """\
# Settings for some ENIs, in any number of sections. If several sections match, the later one wins,
# key by key. All given criteria must hold. A criterion whose value is not known yet does not hold:
"""

_EXAMPLE_SECTION = """\
#[[eni]]
#match = { card = 1, role = "secondary" }
#mtu = "keep"
"""


def example_text() -> str:
    """The commented default file (packaging/ec2net.toml). ``#key`` is a setting, ``# `` prose."""
    return "".join(_example())


def _example() -> Iterator[str]:
    yield _HEAD
    for setting in (*PER_ENI, *TOP.values()):
        yield f"\n{_described(setting)}#{setting.key} = {toml_value(setting.default)}\n"
    for table in TABLES:
        yield f"\n[{table}]\n"
        for setting in HOST:
            inside, _, name = setting.key.partition(".")
            if inside == table:
                yield f"{_described(setting)}#{name} = {toml_value(setting.default)}\n"
    yield f"\n{_SECTION}"
    for criterion in MATCH.values():
        yield _comment(f"{criterion.key}: {criterion.meaning} Allowed: {criterion.kind.allowed}.")
    yield _comment(f"and any of {', '.join(SECTION_SETTINGS)}, as above.")
    yield _EXAMPLE_SECTION


def _described(setting: Setting) -> str:
    return _comment(setting.meaning) + _comment(f"Allowed: {setting.kind.allowed}.")


def _comment(text: str) -> str:
    import textwrap  # only the example needs it

    return (
        textwrap.fill(
            text, 100, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
        )
        + "\n"
    )
