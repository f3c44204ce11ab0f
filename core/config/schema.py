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
        " secondary addresses and prefixes, which ec2net neither adds to the link nor uses in rules."
        " no-rules: everything except rules and tables. observe: nothing, but ec2net reports"
        " differences. ignore: nothing.",
    ),
    _per_eni(
        "backend",
        matching(_NAME, 'a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        'The backend that configures the ENI. "auto": the one that fits the network manager of the link.'
        " `ec2net backends` lists the names.",
    ),
    _per_eni(
        "routing",
        choice(Routing),
        "How the host routes traffic from the ENI's addresses. main-first: through this ENI, except where"
        " the main table has a route to a device that is not an ENI, such as a bridge. Default routes do not"
        " count for this exception. strict: always through this ENI. off: as the main table says; ec2net"
        " makes no rules and no tables.",
    ),
    _per_eni(
        "primary_rules",
        choice_or_flag(PrimaryRules),
        "Whether the primary ENI gets rules and a table, as secondary ENIs do. auto: only if a foreign"
        " route in the main table leads through another ENI. The rules then keep the primary ENI's traffic"
        " on the primary ENI.",
    ),
    _per_eni(
        "published_ports",
        FLAG,
        "true: a reply from a container's published port leaves through the secondary ENI on which the"
        " connection arrived. The same holds for other connections that the host forwards. ec2net marks"
        " packets for this, and needs the command nft.",
    ),
    _per_eni(
        "mtu",
        choice_or_whole(MtuPolicy, whole(576, 65535)),
        "MTU of the link. dhcp: the value from the DHCP server. keep: ec2net does not change the MTU. A"
        " number: this many bytes; IPv6 needs at least 1280.",
    ),
    _per_eni(
        "ipv4_prefix_mode",
        choice(PrefixMode),
        "How ec2net uses the IPv4 prefixes that EC2 delegated to the ENI. rules: traffic from a prefix"
        " leaves through the ENI. local: the same, and the host accepts traffic to every address of the"
        " prefix as its own. none: ec2net does nothing for prefixes.",
    ),
    _per_eni(
        "ipv6_prefix_mode",
        choice(PrefixMode),
        "How ec2net uses the IPv6 prefixes that EC2 delegated to the ENI. rules: traffic from a prefix"
        " leaves through the ENI. local: the same, and the host accepts traffic to every address of the"
        " prefix as its own. none: ec2net does nothing for prefixes.",
    ),
    _per_eni(
        "routed",
        several(SOURCE, may_be_empty=True),
        "Secondary addresses of the ENI that containers use: ec2net makes rules for them and never adds"
        " them to the host. A CIDR means every address of the ENI inside it.",
    ),
    _per_eni(
        "sources",
        several(SOURCE, may_be_empty=True),
        "Addresses and networks that IMDS does not list, but whose traffic leaves through the ENI."
        " Examples: a container network, a virtual IP address, or a network that this host routes for.",
    ),
    _per_eni(
        "main_default",
        choice_or_whole(MainDefault, whole(1, _U32_MAX)),
        "Whether the main table gets a default route through the ENI. yes: numbers.metric_base gives the"
        " metric. A number: yes, with this metric.",
    ),
    _per_eni(
        "main_table",
        choice(MainTable),
        "Which routes of a secondary ENI the main table gets, in addition to main_default. joined: two"
        " routes to the ENI's IPv4 subnet, of which the one through the primary ENI takes precedence."
        " apart: none; primary_rules = auto then makes no rules.",
    ),
    _per_eni(
        "ipv6",
        choice(Ipv6Policy),
        "Whether the ENI uses IPv6. auto: only if its subnet has IPv6.",
    ),
    _per_eni(
        "altnames",
        several(choice(Altname), may_be_empty=True),
        "Alternative names that ec2net gives the link. id: the ENI's id, such as eni-0304feb62015b7959."
        " device-number: device-number-DEVICE.CARD, such as device-number-1.0.",
    ),
    _per_eni(
        "coexist_with",
        several(choice(Rival), may_be_empty=True),
        "Other tools that may configure the ENI at the same time as ec2net. While one of the three tools"
        " configures the ENI and is not in this list, ec2net leaves the ENI unchanged.",
    ),
    _per_eni(
        "dns_default_route",
        choice(DnsDefaultRoute),
        "Whether systemd-resolved may send queries for any domain to the ENI's DNS servers. auto: only"
        " to those of the primary ENI, unless another tool's .network file sets this. yes and no work with"
        " the networkd backend only.",
    ),
    _per_eni(
        "ipv4_fast_failure",
        FLAG,
        "true: while no ENI has IPv4, IPv4 connections to other hosts fail at once, not after minutes."
        " This is for hosts in IPv6-only subnets. ec2net reads the value of the primary ENI only.",
    ),
)
"""At the top for every ENI, and in ``[[eni]]`` sections for those that match."""

HOST: tuple[Setting, ...] = (
    Setting(
        "profile",
        choice(Profile),
        "A set of built-in [[eni]] sections, which ec2net applies before those of the files. With"
        " kubernetes, ec2net leaves the ENIs that are attached after boot to a CNI plugin. For the other"
        " ENIs, ec2net leaves secondary addresses and prefixes to the plugin.",
        "profile",
    ),
    Setting(
        "metrics_file",
        matching(
            r"|/[^\x00-\x1f]*[^\x00-\x1f/]\.prom", 'empty, or an absolute path that ends in ".prom"'
        ),
        "The file that ec2net writes for node_exporter's textfile collector. Empty: no file.",
        "metrics_file",
    ),
    Setting(
        "numbers.table_base",
        # 253 to 255 are default, main and local
        whole(256, _U32_MAX - HIGHEST),
        "Routing table of the ENI with number 0. An ENI's number n is 100 * network card + device"
        " number, and its table is this value plus n.",
        "numbers.table_base",
    ),
    Setting(
        "numbers.priority_base",
        # from 2, since main-first rules sit one lower and 0 is the local table's
        whole(2, LAST_PRIORITIES.start - 1 - HIGHEST),
        "Priority of the rules of the ENI with number 0; the ENI with number n has this value plus n. The"
        " main-first rules of all ENIs have this value minus 1. With more than 64 sources, rules have this"
        " value plus 12800 to 19999.",
        "numbers.priority_base",
    ),
    Setting(
        "numbers.metric_base",
        whole(1, _U32_MAX - HIGHEST),
        "Metric of the default route in the main table, for the ENI with number 0. The ENI with number n"
        " has this value plus n.",
        "numbers.metric_base",
    ),
    Setting(
        "numbers.protocol",
        # FRR's zebra/rt_netlink.h; with one of these numbers, FRR's routes would count as owned
        whole(128, 254, taken=range(186, 199), taken_by="routing daemons use those"),
        "Protocol number with which ec2net marks its routes, rules and addresses.",
        "numbers.protocol",
    ),
    Setting(
        "numbers.link_group",
        whole(1, 2**31 - 1),
        "Group number that ec2net gives to the links of all ENIs. Main-first rules ignore routes through"
        " links of this group.",
        "numbers.link_group",
    ),
    Setting(
        "numbers.mark_shift",
        whole(0, 32 - MARK_BITS),
        "The lowest of the 12 bits of the packet mark that ec2net uses for published_ports.",
        "numbers.mark_shift",
    ),
    Setting(
        "links.drivers",
        several(matching(r"[A-Za-z0-9_.-]{1,31}", "a driver's name")),
        "Kernel drivers of ENIs: ec2net configures only links with one of these drivers.",
        "drivers",
    ),
    Setting(
        "timeouts.pass",
        seconds(1, 300),
        "The longest time that one pass may take, in seconds. A pass is one run of ec2net over all ENIs.",
        "timeouts.pass_",
    ),
    Setting(
        "timeouts.link",
        seconds(0.1, 600),
        "How long 'ec2net start LINK' waits until the link exists, in seconds.",
        "timeouts.link",
    ),
    Setting(
        "timeouts.lock",
        seconds(0.1, 300),
        "How long a command waits for another pass to end, in seconds. Then the command fails.",
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
        "How often the daemon polls IMDS for a newly attached ENI, in seconds.",
        "resident.fast",
    ),
    Setting(
        "resident.fast_for",
        seconds(0.1, 3600),
        "How long the daemon keeps the interval resident.fast after an attachment, in seconds.",
        "resident.fast_for",
    ),
    Setting(
        "resident.debounce",
        seconds(0.01, 10),
        "How long the daemon waits after a kernel event, in seconds, so that one pass serves all events.",
        "resident.debounce",
    ),
    Setting(
        "resident.repairs",
        whole(1, 600),
        "How many repairs the daemon makes in a minute. A repair restores what something else removed or"
        " changed. Further repairs wait.",
        "resident.repairs",
    ),
    Setting(
        "rollback.after",
        seconds(0, 60),
        "How long IMDS or the default gateway may stay unreachable after a change, in seconds, before"
        " ec2net rolls the change back. Only what answered before the change counts. 0: changes"
        " are never rolled back.",
        "rollback_after",
    ),
    Setting(
        "plugins.enabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins that ec2net loads in addition to the backends in use, each by the name of its entry"
        " point in Python. If ec2net cannot load one of them, it changes nothing.",
        "enabled_plugins",
    ),
    Setting(
        "plugins.disabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins that ec2net never loads, although they are installed.",
        "disabled_plugins",
    ),
)
"""Settings of the whole host."""

SETTINGS: dict[str, Setting] = {s.key: s for s in (*PER_ENI, *HOST)}
SECTION_SETTINGS: dict[str, Setting] = {s.key: s for s in PER_ENI}
TABLES: tuple[str, ...] = tuple(
    dict.fromkeys(s.key.partition(".")[0] for s in HOST if "." in s.key)
)

TOP: dict[str, Setting] = {s.key: s for s in HOST if "." not in s.key}
"""Settings of the host, outside of a table."""

MATCH: dict[str, Key] = {
    c.key: c
    for c in (
        Key("mac", several(MAC, one_will_do=True), "The ENI's MAC address."),
        Key("id", several(ENI_ID, one_will_do=True), "The ENI's id."),
        Key("card", whole(0, CARDS - 1), "The index of the ENI's network card."),
        Key("device", whole(0, DEVICES - 1), "The ENI's device number on the card."),
        Key("subnet", CIDR, "A network that contains the ENI's subnet, or is the same."),
        Key("name", several(GLOB, one_will_do=True), "The name of the ENI's link."),
        Key("role", choice(Role), "Whether the ENI is the primary ENI or a secondary ENI."),
        Key(
            "attached",
            choice(Attached),
            "Whether the ENI was attached when the host booted, or later. The primary ENI counts as boot.",
        ),
    )
}

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Configuration of ec2net: every setting with its default. Do not change this file. Write changed
# settings into /etc/ec2net/ec2net.toml.d/NAME.toml instead.
"""

_SECTION = """\
# Settings for some ENIs, in any number of [[eni]] sections. A section applies to the ENIs that meet
# all criteria of its match. If several sections apply to an ENI, the later one wins, key by key.
# While IMDS does not list a value that decides whether a section applies, ec2net does not change
# the ENI. These are the criteria:
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
