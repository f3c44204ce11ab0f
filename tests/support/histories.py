# SPDX-License-Identifier: Apache-2.0
"""Histories of IMDS: each key of several ENIs comes late, is missing or empty once, or lies once.

A history is a list of states, one for each pass. Afterwards IMDS is right. The host's state is then
compared with that of a host that read right answers from the start.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import networkd_double
import networkmanager_double
from hypothesis import strategies as st
from instance import MANY, Instance, primary, subnets
from kernel_state import State

from ec2net.core.simulation.vpc import imds_tree
from ec2net.core.simulation.vpc.eni import Eni, Presence
from ec2net.core.simulation.vpc.imds_server import HttpRequest, Reply
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

STEPS = 6
"""Passes in which IMDS may be wrong."""

RIGHT = 2
"""Passes in which it is right."""

KEYS = (
    "network-card",
    "device-number",
    "interface-id",
    "local-ipv4s",
    "subnet-ipv4-cidr-block",
    "ipv6s",
    "subnet-ipv6-cidr-blocks",
    "ipv4-prefix",
    "ipv6-prefix",
)

LIES: Mapping[str, tuple[str, ...]] = {
    "network-card": ("0", "1", "2"),
    "device-number": ("0", "1", "2", "5"),
    "interface-id": ("eni-0000000000000000f",),
    "local-ipv4s": ("10.0.2.99", "10.0.3.99", "10.0.77.4"),
    "ipv6s": ("2001:db8:0:2::99", "2001:db8:0:3::99", "2001:db8:0:77::4"),
    "subnet-ipv4-cidr-block": ("10.0.0.0/16", "10.0.77.0/24"),
    "subnet-ipv6-cidr-blocks": ("2001:db8::/56", "2001:db8:0:77::/64"),
    "ipv4-prefix": ("10.0.2.16/28", "10.0.3.32/28"),
    "ipv6-prefix": ("2001:db8:0:2:7::/80", "2001:db8:0:3:7::/80"),
}
"""Wrong values; of lists also a part of the right one."""

IGNORED = ("card = 1", "device = 2", 'id = "eni-00000000000000003"', 'subnet = "10.0.3.0/24"')
"""Criteria of ``match`` that hold for the third ENI, and for no other."""


@dataclass(frozen=True)
class Fault:
    """One key of one ENI in a history."""

    kind: str
    """``late``, ``missing``, ``empty`` or ``lie``."""
    step: int
    """``late``: until this step; else: in this step."""
    lie: str = ""

    def value(self, right: str, step: int) -> str | None:
        """The key's value in a step; None: IMDS does not list it."""
        if self.kind == "late":
            return None if step < self.step else right
        if step != self.step:
            return right
        if self.kind == "lie":
            return _part(right) if self.lie == "part" else self.lie
        return None if self.kind == "missing" else ""


def _part(right: str) -> str:
    lines = right.splitlines()
    return "\n".join(lines[: len(lines) // 2 + 1])


def _faults(key: str, *, new: bool) -> st.SearchStrategy[Fault | None]:
    steps = st.integers(0, STEPS - 1)
    lies = ("part", *LIES[key]) if key in ("local-ipv4s", "ipv6s") else LIES[key]
    once = [
        st.builds(Fault, st.sampled_from(("missing", "empty")), steps),
        st.builds(Fault, st.just("lie"), steps, st.sampled_from(lies)),
    ]
    late = [st.builds(Fault, st.just("late"), st.integers(1, STEPS - 1))] if new else []
    return st.one_of(st.none(), *late, *once)


def _of_eni(*, new: bool) -> st.SearchStrategy[dict[str, Fault | None]]:
    return st.fixed_dictionaries({key: _faults(key, new=new) for key in KEYS})


@dataclass(frozen=True)
class History:
    """``enis``: the faults of the primary and of two ENIs that are attached together."""

    ignored: str
    primary_mac: int | None
    """The step in which IMDS names a secondary as the primary."""
    enis: tuple[dict[str, Fault | None], ...]

    def __str__(self) -> str:
        told = [
            f"  ENI {number} {key}: {fault.kind} {fault.step} {fault.lie}".rstrip()
            for number, faults in enumerate(self.enis, 1)
            for key, fault in faults.items()
            if fault is not None
        ]
        return "\n".join([f"ignored: {self.ignored}, mac lies: {self.primary_mac}", *told])


histories = st.builds(
    History,
    st.sampled_from(IGNORED),
    st.none() | st.integers(0, STEPS - 1),
    st.tuples(
        st.just({}) | _of_eni(new=False),
        _of_eni(new=True),
        _of_eni(new=True),
    ),
)


class Scene:
    """A host whose primary ENI is configured, and two ENIs that are attached with the first state."""

    def __init__(self, instance: Instance, history: History) -> None:
        self.instance = instance
        self.vpc = instance.vpc
        self.history = history
        self.enis: list[Eni] = []
        self.env: dict[str, str] = {}
        """Variables for processes that meet the network manager's double."""
        self.attached: Callable[[Eni], None] = lambda eni: None
        """Tells the double what it leases."""
        self.leased: Callable[[Eni], None] = lambda eni: None
        """Lets the double lease the addresses of a link that is there."""
        self.has: Callable[[int], None] = lambda index: None
        """Lets the double have a link."""
        self._reply = self.vpc.imds.reply
        self.vpc.imds.reply = self._one_pass  # type: ignore[method-assign]
        self._step: int | None = None
        self._passes = 0
        criterion = history.ignored
        instance.configure(
            f'[resident]\npoll = 3600\n[[eni]]\nmatch = {{ {criterion} }}\nmanage = "ignore"\n'
        )

    def begin(self) -> None:
        """The primary alone, and IMDS is right."""
        blocks = subnets(self.vpc, 3)
        self.enis = [primary(self.vpc, blocks[0], **MANY)]
        self.attached(self.enis[0])
        shown = self.vpc.guest.run(["ip", "-j", "link", "show", self.enis[0].name]).stdout
        self.has(json.loads(shown)[0]["ifindex"])
        self.leased(self.enis[0])

    def attach(self) -> None:
        """The two others; IMDS says of them what the first state has."""
        for number in (1, 2):
            self.enis.append(
                self.vpc.attach(
                    self.vpc.subnets[number],
                    f"ens{5 + number}",
                    card=number - 1,
                    device=number,
                    presence=Presence.IMDS_ONLY,
                    **MANY,
                )
            )
        self.show(0)
        for eni in self.enis[1:]:
            self.attached(eni)
            self.vpc.plug(eni)
            # A link that ec2net set up stays up, also when the ENI turns out to be ignored.
            self.vpc.guest.ip([f"link set {eni.name} up"])
            self.leased(eni)

    def show(self, step: int | None) -> None:
        """Give IMDS the state of a step; None: everything right."""
        self._step, self._passes = step, 0
        self._put(step, lies=True)

    def _one_pass(self, request: HttpRequest) -> Reply:
        """A lie ends with the pass that hears it: the daemon may read more than once in a step."""
        if request.path.endswith("/interfaces/macs/"):
            self._passes += 1
            if self._passes == 2:
                self._put(self._step, lies=False)
        return self._reply(request)

    def _put(self, step: int | None, *, lies: bool) -> None:
        for number, eni in enumerate(self.enis):
            right = self._right(eni)
            faults = self.history.enis[number] if step is not None else {}
            keys: dict[str, Any] = dict(right)
            for key, fault in faults.items():
                if fault is not None and step is not None and (lies or fault.kind != "lie"):
                    value = fault.value(right[key], step)
                    keys.pop(key) if value is None else keys.update({key: value})
            self.vpc.imds.put_interface(str(eni.mac), keys)
        wrong = lies and step is not None and step == self.history.primary_mac
        self.vpc.imds.put("mac", str(self.enis[1 if wrong else 0].mac))

    def _right(self, eni: Eni) -> dict[str, str]:
        tree = imds_tree.eni_tree(
            eni,
            instance_id=self.vpc.instance_id,
            vpc_ipv4=[self.vpc.ipv4],
            vpc_ipv6=[self.vpc.ipv6],
            several_cards=True,
        )
        return {key: text for key, text in tree.items() if isinstance(text, str)}


@dataclass(frozen=True)
class Remains:
    """The final state of a host."""

    kernel: State
    files: dict[str, object]


_NEWS = (
    *("status.json", "resident", "imds-", "drift/", "begun/", "metrics", "config.json"),
    "networkmanager/",
)
"""Files about passes, not about ENIs; marks of touched links, and of activations that were made."""


def remains(instance: Instance) -> Remains:
    """The kernel, and each file that a later pass goes by."""
    files: dict[str, object] = {
        name: json.loads(content)
        for name, content in instance.files().items()
        if name.endswith(".json") and not name.startswith(_NEWS)
    }
    files |= {**networkd_double.files(), **networkmanager_double.files()}
    return Remains(instance.kernel(), files)


def different_files(one: Remains, other: Remains) -> Iterator[str]:
    """Each file that is not the same."""
    for name in sorted({*one.files, *other.files}):
        before, after = one.files.get(name), other.files.get(name)
        if before != after:
            yield f"{name}: {before} -> {after}"


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """With these variables in the environment of this process."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


@contextmanager
def scene(install: Any, history: History, backend: str) -> Iterator[Scene]:
    """A VPC of its own, so that every history begins with the same links."""
    with SimulatedVpc(cards=3) as vpc, ExitStack() as stack:
        there = Scene(install(vpc), history)
        if backend == "networkd":
            there.env = stack.enter_context(networkd_double.networkd())
            there.attached = networkd_double.leases
            there.has = networkd_double.has
        elif backend == "networkmanager":
            double, there.env = stack.enter_context(networkmanager_double.networkmanager(vpc.guest))
            there.leased = double.lease
            stack.enter_context(variables(there.env))
        yield there


def nothing(ignored: str) -> History:
    """IMDS is right from the start."""
    return History(ignored, None, ({}, {}, {}))


def steps() -> Iterable[int | None]:
    """The states of a history after the first one."""
    return (*range(1, STEPS), *[None] * RIGHT)
