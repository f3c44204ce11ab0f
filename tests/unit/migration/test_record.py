# SPDX-License-Identifier: Apache-2.0
"""The record of a handover: it reads back unchanged, and damage is reported."""

import json
from pathlib import Path

import pytest
from handover_host import BY_NETWORKMANAGER, DHCLIENT, host

from ec2net.core.migration import record
from ec2net.core.migration.clients import Clients
from ec2net.core.migration.plan import before
from ec2net.core.model.errors import StateError


def test_a_record_reads_back_unchanged(tmp_path: Path) -> None:
    was = before(
        host(BY_NETWORKMANAGER, active=("a.service",), clients=Clients((DHCLIENT,))), "now"
    )
    where = tmp_path / "state/adopted.json"
    assert record.read(where) is None
    record.write(was, where)
    assert where.stat().st_mode & 0o777 == 0o600
    again = record.read(where)
    assert again is not None
    assert again.to_dict() == was.to_dict()
    assert again.clients[0].words == DHCLIENT.words
    record.forget(where)
    record.forget(where)
    assert not where.parent.exists()


@pytest.mark.parametrize("spoil", ["", "{", "[]", "{}", "null", "cut", "version", "words", "link"])
def test_an_invalid_record_is_reported(tmp_path: Path, spoil: str) -> None:
    """A damaged record never counts as a host without a former state."""
    where = tmp_path / "adopted.json"
    record.write(before(host(BY_NETWORKMANAGER, clients=Clients((DHCLIENT,))), "now"), where)
    data = json.loads(where.read_text())
    if spoil == "version":
        data["version"] = 2
    elif spoil == "words":
        data["clients"][0]["words"] = []
    elif spoil == "link":
        data["links"] = {"/etc/systemd/system/x": None}
    text = where.read_text()[:-40] if spoil == "cut" else json.dumps(data)
    where.write_text(text if spoil in ("cut", "version", "words", "link") else spoil)
    with pytest.raises(StateError, match="lacks the former state of the host") as failed:
        record.read(where)
    assert "move the record away" in failed.value.remedy
