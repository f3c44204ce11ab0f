# SPDX-License-Identifier: Apache-2.0
"""A pass that fails as a whole: what its publisher stores."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ec2net.core.config.files import LoadedConfig
from ec2net.core.config.settings import Config
from ec2net.core.engine.one_pass import failure_published
from ec2net.core.model.errors import Ec2netError, Stopped
from ec2net.core.report.publisher import StatusPublisher
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(RunDir(tmp_path), LoadedConfig(Config()))


def failing(place: Workplace) -> AbstractContextManager[None]:
    return failure_published(StatusPublisher(place))


def test_a_failed_pass_is_published_and_fails_the_command(place: Workplace) -> None:
    with pytest.raises(Ec2netError, match="no IMDS endpoint"), failing(place):
        raise Ec2netError("no IMDS endpoint answers")
    stored = place.run.read("status.json")
    assert stored is not None
    assert stored["problems"] == ["no IMDS endpoint answers"]


def test_an_interrupted_pass_is_not_published(place: Workplace) -> None:
    with pytest.raises(Stopped), failing(place):
        raise Stopped("SIGTERM")
    assert place.run.read("status.json") is None
