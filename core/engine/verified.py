# SPDX-License-Identifier: Apache-2.0
"""ENIs whose ways were right when the kernel was asked, as long as nothing has changed since.

A lookup costs the kernel a walk through all rules, and 64 ENIs need 400 lookups. Their answers depend
on links, addresses, routes and rules, which each pass dumps (``Snapshot.state``), on the intent, and
on what is looked up. A way of forwarded traffic depends on sysctls as well, and is looked up always.
A wrong way is never kept: a finding ends only when the kernel is asked again.
"""

from ec2net.core.decide.intent import EniIntent, HostIntent
from ec2net.core.decide.main_table import known_subnets
from ec2net.core.model.facts import Facts
from ec2net.core.model.identity import Mac
from ec2net.core.model.snapshot import Snapshot


class Verified:
    """The ENIs of the last verifications."""

    def __init__(self) -> None:
        self._inputs: object = None
        self._right: dict[Mac, EniIntent] = {}

    def begin(self, facts: Facts, host: HostIntent, snapshot: Snapshot) -> None:
        """Forget all ENIs if an input of the lookups has changed."""
        links = frozenset(link.index for eni in host.enis for link in eni.links)
        inputs = (snapshot.state, links, known_subnets(facts.imds.enis))
        if snapshot.state is None or inputs != self._inputs:
            self._right.clear()
        self._inputs = inputs

    def forget(self) -> None:
        """Make the next verification look up the ways of every ENI."""
        self._right.clear()

    def __contains__(self, intent: EniIntent) -> bool:
        return self._right.get(intent.mac) == intent

    def note(self, intent: EniIntent, *, right: bool) -> None:
        """Record whether the kernel's answers about an ENI are right."""
        if right:
            self._right[intent.mac] = intent
        else:
            self._right.pop(intent.mac, None)
