# SPDX-License-Identifier: Apache-2.0
"""The effect of a backend's remarks on an intent."""

from eni_facts import PRIMARY, eni, link, mac

from ec2net.core.config.settings import Config
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import Standing
from ec2net.core.model.facts import Facts, ImdsFacts, Value


def test_an_unmanaged_eni_has_an_empty_intent() -> None:
    enis = tuple(eni(n) for n in range(3))
    imds = ImdsFacts(Value(PRIMARY), Value(tuple(e.mac for e in enis)), enis)
    host = compute(Facts(imds, tuple(link(n) for n in range(3))), Config(drivers=("ena",)))
    assert len(host.ready) == 3
    left = host.without({mac(2): "a user disconnected it"}, Standing.IGNORED)
    assert [eni.mac for eni in left.ready] == [mac(0), mac(1)]
    before, found = host.of(mac(2)), left.of(mac(2))
    assert before is not None
    assert found is not None
    assert (found.standing, found.reason) == (Standing.IGNORED, "a user disconnected it")
    assert found.link == before.link
    assert host.without({}, Standing.PENDING) is host
    # An ENI that is refused for another reason keeps that reason.
    assert left.without({mac(2): "not yet"}, Standing.PENDING) is left
