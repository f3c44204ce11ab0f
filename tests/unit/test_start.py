# SPDX-License-Identifier: Apache-2.0
"""``start``: what its work on a link watches."""

from argparse import Namespace
from pathlib import Path

import pytest

from ec2net.core.cli.commands import start
from ec2net.core.kernel import link_events
from ec2net.core.model.errors import ExitStatus, LinkGone
from ec2net.core.runtime.deadline import Deadline


def test_work_on_a_link_ends_when_the_link_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback stands for it; then its name leads to another link."""
    worked: list[str] = []

    def configure(name: str, place: object, deadline: Deadline, options: Namespace) -> ExitStatus:
        worked.append(name)
        deadline.check()
        monkeypatch.setattr(link_events, "link_index", lambda _: 7)
        for interruption in deadline.interruptions:
            interruption.check()
        return ExitStatus.DONE

    monkeypatch.setattr(start, "_configure", configure)
    options = Namespace(
        primary=False,
        link="lo",
        timeout=5.0,
        run_dir=tmp_path / "state",
        config_root=tmp_path,
    )
    with pytest.raises(LinkGone, match="lo: the link went away"):
        start.run(options)
    assert worked == ["lo"]
