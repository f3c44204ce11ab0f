# SPDX-License-Identifier: Apache-2.0
"""Counts without a report, and kept values that are no numbers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ec2net.core.config.files import load
from ec2net.core.decide.intent import HostIntent
from ec2net.core.model.errors import (
    ConfigError,
    DeadlineExceeded,
    Ec2netError,
    ImdsError,
    StateError,
)
from ec2net.core.model.plan import Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.metrics import FILE, count, count_failure
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.run_dir import RunDir


def place(path: Path, metrics_file: object) -> Workplace:
    etc = path / "etc/ec2net"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "ec2net.toml").write_text(f'metrics_file = "{metrics_file}"\n')
    return Workplace(RunDir(path / "run"), load(path))


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ImdsError("x"), "imds"), (DeadlineExceeded("x"), "deadline"), (Ec2netError("x"), "other")],
)
def test_an_interrupted_pass_counts_as_failed(
    tmp_path: Path, error: Ec2netError, kind: str
) -> None:
    file = tmp_path / "ec2net.prom"
    for _ in range(2):
        count_failure(place(tmp_path, file), error)
    lines = file.read_text().splitlines()
    assert 'ec2net_passes_total{result="failed"} 2' in lines
    assert 'ec2net_passes_total{result="done"} 0' in lines
    assert f'ec2net_errors_total{{kind="{kind}"}} 2' in lines
    assert "ec2net_last_success_timestamp_seconds 0" in lines


def test_without_a_file_no_value_is_kept(tmp_path: Path) -> None:
    count_failure(place(tmp_path, ""), ImdsError("x"))
    assert not (tmp_path / "run").exists()


def test_invalid_kept_values_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "ec2net.prom"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_text(json.dumps({"ec2net_repairs_total": "x", "y": 1}))
    count_failure(place(tmp_path, file), ImdsError("x"))
    assert "ec2net_repairs_total 0" in file.read_text().splitlines()
    assert "y" not in file.read_text().split()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"metrics_file: cannot write .*ReadWritePaths="):
        count_failure(place(tmp_path, tmp_path / "file" / "ec2net.prom"), ImdsError("x"))


@pytest.mark.parametrize("value", ["ec2net.prom", "/var/lib/x", "/", "/x/.prom/", "/a\\u0000.prom"])
def test_a_file_that_the_collector_would_not_read_is_refused(tmp_path: Path, value: str) -> None:
    (error,) = place(tmp_path, value).loaded.errors
    assert "metrics_file" in str(error)


def test_a_broken_configuration_is_counted_and_no_pass_succeeds(tmp_path: Path) -> None:
    file = tmp_path / "ec2net.prom"
    good = place(tmp_path, file)
    report = PassReport(HostIntent(()), Plan(), {})
    count(good, report)
    text = file.read_text()
    assert "ec2net_config_errors 0" in text.splitlines()
    (success,) = re.findall(r"^ec2net_last_success_timestamp_seconds (.*)$", text, re.MULTILINE)
    assert float(success) > 0
    broken = replace(good, loaded=replace(good.loaded, errors=(ConfigError("x"),)))
    count(broken, report)
    lines = file.read_text().splitlines()
    assert "ec2net_config_errors 1" in lines
    assert f"ec2net_last_success_timestamp_seconds {success}" in lines
    assert 'ec2net_passes_total{result="failed"} 1' in lines
