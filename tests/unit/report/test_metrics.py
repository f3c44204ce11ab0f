# SPDX-License-Identifier: Apache-2.0
"""Counts without a report, and kept values that are no numbers."""

import json
import platform
import re
from dataclasses import replace
from pathlib import Path

import eni_facts
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ec2net import __version__
from ec2net.core.config.files import load
from ec2net.core.config.settings import Config, EniSettings, Manage
from ec2net.core.decide.compute import compute
from ec2net.core.decide.intent import HostIntent
from ec2net.core.model.errors import (
    ConfigError,
    DeadlineExceeded,
    Ec2netError,
    ImdsError,
    StateError,
)
from ec2net.core.model.objects import LinkRef, LinkSetting, Setting
from ec2net.core.model.plan import Action, Change, Plan
from ec2net.core.plugins.report import PassReport
from ec2net.core.report.metrics import FILE, METRICS, count, count_failure
from ec2net.core.state.config_in_force import Workplace
from ec2net.core.state.drift_record import OBSERVED, Drift, Drifts
from ec2net.core.state.pause import Pause
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


def test_the_version_of_before_an_upgrade_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "ec2net.prom"
    (tmp_path / "run").mkdir()
    old = 'ec2net_build_info{version="0.0.1",python="3.11.0"}'
    (tmp_path / "run" / FILE).write_text(json.dumps({old: 1}))
    count_failure(place(tmp_path, file), ImdsError("x"))
    told = [line for line in file.read_text().splitlines() if line.startswith("ec2net_build_info")]
    assert told == [
        f'ec2net_build_info{{version="{__version__}",python="{platform.python_version()}"}} 1'
    ]


def test_a_pass_over_all_enis_reports_the_pending_changes(tmp_path: Path) -> None:
    file = tmp_path / "ec2net.prom"
    where = place(tmp_path, file)
    step = Change(Action.ADD, LinkSetting(LinkRef(2, "ens6"), Setting.UP, 1), None)
    pause = Pause("2026-11-29T12:00:00Z", "2026-11-29T14:00:00Z", "", "x")
    report = PassReport(
        HostIntent(()),
        Plan((step,)),
        {},
        pause=pause,
        waiting=frozenset({step}),
        problems=(ImdsError("x"),),
    )
    wanted = {
        "ec2net_pending_changes 1",
        "ec2net_paused 1",
        "ec2net_open_findings 1",
        "ec2net_drift 0",
    }
    count(where, report)
    assert wanted <= set(file.read_text().splitlines())
    count(where, PassReport(HostIntent(()), Plan(), {}), whole=False)
    assert wanted <= set(file.read_text().splitlines())
    count(where, PassReport(HostIntent(()), Plan((step,)), {}, done=(step,)))
    none = {"ec2net_pending_changes 0", "ec2net_paused 0", "ec2net_open_findings 0"}
    assert none <= set(file.read_text().splitlines())


def test_an_observed_eni_causes_no_alert(tmp_path: Path) -> None:
    """Its differences are a count of their own. Another tool may configure it as intended."""
    file = tmp_path / "ec2net.prom"
    facts = eni_facts.host(eni_facts.eni(0), eni_facts.eni(1))
    host = compute(facts, Config(eni=EniSettings(manage=Manage.OBSERVE)))
    seen = host.ready[0]
    step = Change(Action.ADD, LinkSetting(seen.link, Setting.UP, 1), seen.mac)
    time = "2026-11-29T12:00:00Z"
    drift = Drift(("a rule is missing",), ("rule",), time, time, 1, (), OBSERVED, open=True)
    report = PassReport(host, Plan((step,)), {}, drifts=Drifts({seen.mac: drift}))
    count(place(tmp_path, file), report)
    lines = file.read_text().splitlines()
    assert {
        'ec2net_enis{standing="observed"} 2',
        'ec2net_enis{standing="planned"} 0',
        "ec2net_observed_differences 1",
        "ec2net_pending_changes 0",
        "ec2net_addresses_missing 0",
        "ec2net_drift 0",
    } <= set(lines)


def test_the_parser_of_prometheus_reads_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ec2net.prom"
    count(place(tmp_path, file), PassReport(HostIntent(()), Plan(), {}))
    families = {one.name: one for one in text_string_to_metric_families(file.read_text())}
    for name, (kind, meaning) in METRICS.items():
        family = families.pop(name.removesuffix("_total") if kind == "counter" else name)
        assert (family.type, family.documentation) == (kind, meaning)
        assert family.samples
    assert families == {}


@pytest.mark.parametrize(("name", "kind"), [(n, kind) for n, (kind, _) in METRICS.items()])
def test_names_follow_the_conventions_of_prometheus(name: str, kind: str) -> None:
    """prometheus.io/docs/practices/naming: a prefix, base units, _total for counters alone."""
    assert re.fullmatch(r"ec2net_[a-z_]*[a-z]", name)
    assert name.endswith("_total") == (kind == "counter")
    assert not re.search(r"_(ms|minutes|hours|percent|count|sum)$", name)


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
