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
    Kind,
    choice,
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
    Manage,
    MtuPolicy,
    PrefixMode,
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
        "How much of the ENI is configured. full: everything; no-addresses: all but secondary addresses"
        " and prefixes, neither on the link nor in rules; no-rules: all but rules; observe: nothing, but it is reported; ignore:"
        " nothing, as if it were not there.",
    ),
    _per_eni(
        "backend",
        matching(_NAME, 'a backend\'s name of a-z, 0-9 and "-", or "auto"'),
        'Who applies it; "auto" goes by who manages the link.',
    ),
    _per_eni(
        "routing",
        choice(Routing),
        "Traffic from an ENI's address leaves through that ENI. main-first: unless main has a"
        " more specific route to a device that is no ENI; strict: always; off: no rules and"
        " tables of our own.",
    ),
    _per_eni(
        "primary_rules",
        FLAG,
        "Whether the primary ENI has rules and a table as the others do.",
    ),
    _per_eni(
        "published_ports",
        FLAG,
        "Whether answers to connections that are handed on, as those to a container's published port, leave by the"
        " secondary ENI that they came in by (in the mark of packets and connections; needs nft).",
    ),
    _per_eni(
        "mtu",
        choice_or_whole(MtuPolicy, whole(576, 65535)),
        "MTU. dhcp: as the DHCP server says; keep: untouched; or in bytes (IPv6 needs 1280).",
    ),
    _per_eni(
        "ipv4_prefix_mode",
        choice(PrefixMode),
        "Delegated IPv4 prefixes. rules: rules only; local: every address is also the host's own;"
        " none: nothing.",
    ),
    _per_eni(
        "ipv6_prefix_mode",
        choice(PrefixMode),
        "Delegated IPv6 prefixes. rules: rules only; local: every address is also the host's own;"
        " none: nothing.",
    ),
    _per_eni(
        "main_default",
        choice_or_whole(MainDefault, whole(1, _U32_MAX)),
        "Whether the main table has a default route through the ENI; a number: yes, with this metric.",
    ),
    _per_eni(
        "ipv6",
        choice(Ipv6Policy),
        "Whether the ENI has IPv6. auto: if its subnet has.",
    ),
    _per_eni(
        "altnames",
        several(choice(Altname), may_be_empty=True),
        "Alternative link names: the ENI's id; its card and device number.",
    ),
    _per_eni(
        "beside",
        several(choice(Rival), may_be_empty=True),
        "Tools that may configure the ENI as well. Of an ENI that another one of these is at work on"
        " nothing is changed.",
    ),
    _per_eni(
        "dns_default_route",
        choice(DnsDefaultRoute),
        "Whether names of every domain may be asked of the ENI's DNS servers (systemd-resolved). auto:"
        " the primary's, but where a file of somebody else counts. yes and no need the networkd backend.",
    ),
    _per_eni(
        "ipv4_fast_failure",
        FLAG,
        "Whether IPv4 connections abroad fail at once while no ENI has IPv4 (IPv6-only subnets), and"
        " not after minutes. The primary's counts.",
    ),
)
"""At the top for every ENI, and in ``[[eni]]`` sections for those that match."""

HOST: tuple[Setting, ...] = (
    Setting(
        "profile",
        choice(Profile),
        "Sections that come before all [[eni]] sections. kubernetes: a CNI plugin has the ENIs that"
        " come after boot (ignored) and all secondary addresses and prefixes of the others.",
        "profile",
    ),
    Setting(
        "metrics_file",
        matching(
            r"|/[^\x00-\x1f]*[^\x00-\x1f/]\.prom", 'empty, or an absolute path that ends in ".prom"'
        ),
        "A file with numbers of passes, for node_exporter's textfile collector. Empty: none.",
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
        "Rule priority of number 0; main-first rules sit at one less.",
        "numbers.priority_base",
    ),
    Setting(
        "numbers.metric_base",
        whole(1, _U32_MAX - HIGHEST),
        "Metric of number 0 in the main table.",
        "numbers.metric_base",
    ),
    Setting(
        "numbers.protocol",
        # FRR's zebra/rt_netlink.h; with one of these, its routes would count as ours
        whole(128, 254, taken=range(186, 199), taken_by="routing daemons use those"),
        "Protocol number that marks our routes and rules.",
        "numbers.protocol",
    ),
    Setting(
        "numbers.link_group",
        whole(1, 2**31 - 1),
        "Link group that all ENIs are put into.",
        "numbers.link_group",
    ),
    Setting(
        "numbers.mark_shift",
        whole(0, 32 - MARK_BITS),
        "The lowest of the 12 bits of a mark that published_ports uses.",
        "numbers.mark_shift",
    ),
    Setting(
        "links.drivers",
        several(matching(r"[A-Za-z0-9_.-]{1,31}", "a driver's name")),
        "Drivers whose links can be ENIs.",
        "drivers",
    ),
    Setting(
        "timeouts.pass",
        seconds(1, 300),
        "Seconds that one pass over all ENIs may take.",
        "timeouts.pass_",
    ),
    Setting(
        "timeouts.link",
        seconds(0.1, 600),
        "Seconds that start waits for the link.",
        "timeouts.link",
    ),
    Setting(
        "timeouts.lock",
        seconds(0.1, 300),
        "Seconds to wait for another pass to end.",
        "timeouts.lock",
    ),
    Setting(
        "resident.poll",
        seconds(1, 3600),
        "Seconds between looks of the resident manager at IMDS and at everything.",
        "resident.poll",
    ),
    Setting(
        "resident.fast",
        seconds(0.1, 600),
        "Seconds between looks at an ENI that has just come.",
        "resident.fast",
    ),
    Setting(
        "resident.fast_for",
        seconds(0.1, 3600),
        "Seconds for which an ENI has just come.",
        "resident.fast_for",
    ),
    Setting(
        "resident.debounce",
        seconds(0.01, 10),
        "Seconds from an event of the kernel to the look that follows, which serves all until then.",
        "resident.debounce",
    ),
    Setting(
        "resident.repairs",
        whole(1, 600),
        "Repairs per minute of what somebody else takes away; beyond, the next poll does it.",
        "resident.repairs",
    ),
    Setting(
        "rollback.after",
        seconds(0, 60),
        "If IMDS or the default gateway could be reached before a change and cannot for so many"
        " seconds after it, the state before it comes back. 0: never.",
        "rollback_after",
    ),
    Setting(
        "plugins.enabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins to load by their entry point, beside the backends that are named. Without one of"
        " these nothing is changed.",
        "enabled_plugins",
    ),
    Setting(
        "plugins.disabled",
        several(matching(r"[A-Za-z0-9_.-]{1,64}", "a plugin's name"), may_be_empty=True),
        "Plugins that are not loaded.",
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
        Key("mac", several(MAC, one_will_do=True), "Its MAC address."),
        Key("id", several(ENI_ID, one_will_do=True), "Its ENI id."),
        Key("card", whole(0, CARDS - 1), "Its network card's index."),
        Key("device", whole(0, DEVICES - 1), "Its device number on the card."),
        Key("subnet", CIDR, "Its subnet is this or lies inside."),
        Key("name", several(GLOB, one_will_do=True), "Its link's name."),
        Key("role", choice(Role), "The instance's primary ENI, or not."),
        Key(
            "attached",
            choice(Attached),
            "Whether it was there at boot, or came later; the primary always was.",
        ),
    )
}

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Configuration of ec2net. Every setting is here with its default; uncomment what is to differ.
# Better than changing this file: put the difference into /etc/ec2net/ec2net.toml.d/NAME.toml.
"""

_SECTION = """\
# Settings for some ENIs, any number of sections; where several match, the later one wins key by
# key. All criteria that are given must hold, and one that is not known yet does not hold:
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
