# SPDX-License-Identifier: Apache-2.0
"""All that a plugin may import: nothing else of ``ec2net`` is promised to stay.

``API`` is the version of this surface and of the contract behind it. A plugin says for which one it
was made: ``EC2NET_API = 1`` in its module; without that line it counts as made for 1. A plugin for
another version is refused.
"""

from ec2net.core.config.settings import DnsDefaultRoute, MtuPolicy
from ec2net.core.decide.compare import make_plan
from ec2net.core.decide.intent import EarlyIntent, EniIntent, HostIntent
from ec2net.core.host.files import Environment
from ec2net.core.host.managers import (
    NETWORKD_LINKS,
    NETWORKD_OWNER,
    NETWORKD_UNIT,
    NETWORKMANAGER_OWNER,
    NETWORKMANAGER_UNIT,
    Manager,
    link_manager,
    may_return,
    owner,
    will_return,
)
from ec2net.core.kernel.link_events import KernelEvents
from ec2net.core.kernel.session import Kernel
from ec2net.core.live.apply import Broken, version_of
from ec2net.core.live.apply import apply as apply_live
from ec2net.core.live.guard import changes_ahead, guard_routes, guarded, lift_guards, put_guards
from ec2net.core.live.leases import await_sources
from ec2net.core.live.observe import observe as observe_live
from ec2net.core.live.owned_file import HEADER, OwnedFile
from ec2net.core.live.owned_file import TEMPORARY as FILE_PREFIX
from ec2net.core.live.owned_file import remove as remove_file
from ec2net.core.live.owned_file import write as write_file
from ec2net.core.live.render import Base
from ec2net.core.live.render import render as render_live
from ec2net.core.model.errors import DeadlineExceeded, Ec2netError, NotYet, StateError
from ec2net.core.model.facts import Facts, Link
from ec2net.core.model.identity import Mac
from ec2net.core.model.objects import (
    MAIN_TABLE,
    Address,
    AnyAddress,
    KernelObject,
    LinkRef,
    LinkSetting,
    Rank,
    Route,
    Rule,
    Setting,
)
from ec2net.core.model.plan import Action, Applied, Change, Failure, InPlace, Item, Plan
from ec2net.core.model.snapshot import Snapshot
from ec2net.core.plugins.backend import (
    Backend,
    Boot,
    BootEni,
    Goal,
    Host,
    Kept,
    Observed,
    Suitability,
)
from ec2net.core.plugins.hookspecs import API, hookimpl
from ec2net.core.plugins.report import PassReport
from ec2net.core.runtime.command import run_bounded
from ec2net.core.runtime.deadline import Deadline
from ec2net.core.runtime.files import make_folder
from ec2net.core.runtime.files import regular as read_file
from ec2net.core.state.journal import Journals
from ec2net.core.state.per_eni import file as state_file
from ec2net.core.state.run_dir import RunDir

__all__ = [
    "API",
    "FILE_PREFIX",
    "HEADER",
    "MAIN_TABLE",
    "NETWORKD_LINKS",
    "NETWORKD_OWNER",
    "NETWORKD_UNIT",
    "NETWORKMANAGER_OWNER",
    "NETWORKMANAGER_UNIT",
    "Action",
    "Address",
    "AnyAddress",
    "Applied",
    "Backend",
    "Base",
    "Boot",
    "BootEni",
    "Broken",
    "Change",
    "Deadline",
    "DeadlineExceeded",
    "DnsDefaultRoute",
    "EarlyIntent",
    "Ec2netError",
    "EniIntent",
    "Environment",
    "Facts",
    "Failure",
    "Goal",
    "Host",
    "HostIntent",
    "InPlace",
    "Item",
    "Journals",
    "Kept",
    "Kernel",
    "KernelEvents",
    "KernelObject",
    "Link",
    "LinkRef",
    "LinkSetting",
    "Mac",
    "Manager",
    "MtuPolicy",
    "NotYet",
    "Observed",
    "OwnedFile",
    "PassReport",
    "Plan",
    "Rank",
    "Route",
    "Rule",
    "RunDir",
    "Setting",
    "Snapshot",
    "StateError",
    "Suitability",
    "apply_live",
    "await_sources",
    "changes_ahead",
    "guard_routes",
    "guarded",
    "hookimpl",
    "lift_guards",
    "link_manager",
    "make_folder",
    "make_plan",
    "may_return",
    "observe_live",
    "owner",
    "put_guards",
    "read_file",
    "remove_file",
    "render_live",
    "run_bounded",
    "state_file",
    "version_of",
    "will_return",
    "write_file",
]
